# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drive transformers on torch, with the weights as they are published."""
from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
import sys

from drivers import protocol
import torch

if find_spec('torchvision'):  # transformers opens it, and one of another build of torch fails
    sys.path.append(str(Path(__file__).resolve().parents[2] / 'test' / 'models'))
    import torchvision_operators  # noqa: F401

import transformers  # noqa: E402


class Transformers(protocol.Stepwise):
    """A model with one dynamic cache."""

    def __init__(self, folder: str, dtype: str) -> None:
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype)).eval()

    def clear(self) -> None:
        self._cache = transformers.DynamicCache(config=self._model.config)

    @torch.inference_mode()
    def read(self, ids: Sequence[int]) -> int:
        output = self._model(input_ids=torch.tensor([list(ids)]), past_key_values=self._cache,
                             use_cache=True, logits_to_keep=1)
        self._last = int(output.logits[0, -1].argmax())
        return self._last


def main() -> None:
    """Open the model and obey."""
    parser = protocol.parser()
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
    arguments = parser.parse_args()
    results = protocol.take_output()
    torch.set_num_threads(arguments.threads)
    engine = Transformers(arguments.model, arguments.dtype)
    protocol.serve(engine, results, {
        'engine': 'transformers', 'threads': torch.get_num_threads(),
        'version': transformers.__version__, 'torch': torch.__version__})


if __name__ == '__main__':
    main()
