# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Golden numbers of a fixture: what transformers computes in fp32, always without a cache."""

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / 'goldens'
LENGTH = 48
PROMPT = 8
CONTINUATION = 12
MARGIN = 0.05


@dataclass(frozen=True)
class Golden:
    """
    What every way of running a fixture must reproduce.

    :param ids: a fixed sequence of 48 token ids
    :param log_probabilities: natural log p(ids[i + 1] | ids[: i + 1]) for i = 0..46
    :param prompt: the first 8 of the ids
    :param greedy: the 12 most probable ids after the prompt, each given those before it
    :param margin: smallest lead, in log-probability, of a greedy id over the runner-up
    :param tolerance: largest allowed difference of a log-probability
    """

    ids: list[int]
    log_probabilities: list[float]
    prompt: list[int]
    greedy: list[int]
    margin: float
    tolerance: float

    def save(self, name: str) -> None:
        """Write the numbers as `goldens/<name>.json`."""
        (FOLDER / f'{name}.json').write_text(json.dumps(asdict(self)) + '\n')


def load(name: str) -> Golden:
    """Return the golden numbers of the fixture `name`, with the tolerance on this CPU."""
    found = Golden(**json.loads((FOLDER / f'{name}.json').read_text()))
    if 'fp16' in name and 'asimdhp' in Path('/proc/cpuinfo').read_text():
        # Products of float16 are added up in float32; in float16 by the kernels of ONNX Runtime
        # for ARM cores with such arithmetic.
        found = replace(found, tolerance=1.5 * found.tolerance)
    return found


def compute(model: Any, ids: list[int], avoid: set[int], tolerance: float) -> Golden:
    """
    Compute golden numbers with `model`, a causal language model of transformers in fp32.

    :raises ValueError: the greedy continuation is too close a race or meets an id in `avoid`, so
        that the fixture needs another seed
    """
    import torch

    def log_probabilities(sequence: list[int]) -> Any:
        with torch.no_grad():
            logits = model(torch.tensor([sequence]), use_cache=False).logits[0]
        return logits.double().log_softmax(-1)

    rows = log_probabilities(ids)
    greedy: list[int] = []
    margins = []
    for _ in range(CONTINUATION):
        best = log_probabilities(ids[:PROMPT] + greedy)[-1].topk(2)
        greedy.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
    if min(margins) < MARGIN or avoid & set(greedy):
        raise ValueError(f'poor continuation {greedy}, margin {min(margins)}: change the seed')
    return Golden(
        ids=ids,
        log_probabilities=[round(float(rows[i, ids[i + 1]]), 7) for i in range(len(ids) - 1)],
        prompt=ids[:PROMPT], greedy=greedy, margin=round(min(margins), 4), tolerance=tolerance)
