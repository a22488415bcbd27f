# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An engine with a model and options, as the command line names it."""
from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import json
from pathlib import Path
import re
from typing import Any

OURS = 'lfm_ros'


@dataclass
class Contestant:
    """
    What takes part in a comparison.

    :param module: its driver.
    :param model: a folder or a file.
    :param settings: arguments of the driver.
    :param longest: the longest history it is measured behind; 0: any.
    """

    name: str
    module: str
    model: Path
    settings: dict[str, str] = field(default_factory=dict)
    longest: int = 0

    @classmethod
    def parse(cls, module: str, text: str) -> Contestant:
        """Read ``[NAME=]PATH[:key=value,...]``; the key longest is not the driver's."""
        name, path, rest = re.fullmatch(  # type: ignore[union-attr]
            r'(?:([^=/:]+)=)?(.+?)(?::(\w+=[^/]*))?', text).groups()
        settings = dict(pair.split('=', 1) for pair in rest.split(',')) if rest else {}
        longest = int(settings.pop('longest', 0))
        model = Path(path).resolve()
        folder = model.parent if model.is_file() else model
        name = name or ' '.join([module, folder.name, *settings.values()])
        return cls(name, module, model, settings, longest)

    @property
    def ours(self) -> bool:
        """Tell whether it is lfm_ros."""
        return self.module == OURS

    def arguments(self, threads: int, context: int) -> list[str]:
        """Return the arguments of the driver."""
        given = [str(self.model), f'--threads={threads}', f'--context={context}']
        return given + [f'--{key}={value}' for key, value in self.settings.items()]

    def bits(self) -> dict[str, Any]:
        """Return what bench/make_models.py noted beside the model; empty where it did not."""
        folder = self.model.parent if self.model.is_file() else self.model
        note = folder / 'bits.json'
        found = dict(json.loads(note.read_text())) if note.exists() else {}
        if found and self.module == 'transformers' and self.settings.get('dtype') != 'bfloat16':
            found.update(bits_per_weight=32.0, weight_bytes=4 * found['parameters'])
        return found
