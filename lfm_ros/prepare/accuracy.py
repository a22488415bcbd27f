# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure what a lossy edit does to the probabilities that a model gives."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.text.chat_template import ChatTemplate
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.calibration_text import SYSTEM
from lfm_ros.prepare.calibration_text import TURNS
from lfm_ros.prepare.reference import open_embed
from lfm_ros.prepare.reference import open_reference
import numpy as np

_CHUNK = 64
_MIN = 24   # tokens
_MAX = 4096   # tokens
_SEEN = 2 / 3  # of a text; the rest is held back to measure on


@dataclass(frozen=True)
class Text:
    """A text in ids; the first ``seen`` of them are for calibration, the others to measure on."""

    ids: list[int]
    seen: int

    @classmethod
    def read(cls, folder: ModelFolder, path: Path | None = None) -> Text:
        """
        Read a file, or take the conversation of this package in the template of the model.

        :raises LfmError: when the file cannot be read or is too short.
        """
        tokenizer = Tokenizer.open(folder)
        ids = _conversation(folder, tokenizer) if path is None else _file(path, tokenizer)
        context = folder.text_config.get('max_position_embeddings') or _MAX
        ids = ids[:min(_MAX, context)]
        if len(ids) < _MIN:
            raise LfmError(ErrorCode.INVALID_VALUE, f'the text of {len(ids)} tokens is too short '
                           'to calibrate with: give one of some hundred words')
        return cls(ids, int(len(ids) * _SEEN))

    def chunks(self, end: int | None = None) -> Iterator[list[int]]:
        """Yield the ids up to a place in chunks that are read in one run each."""
        ids = self.ids[:end]
        for start in range(0, len(ids), _CHUNK):
            yield ids[start:start + _CHUNK]


def _file(path: Path, tokenizer: Tokenizer) -> list[int]:
    try:
        return tokenizer.encode(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise LfmError(ErrorCode.INVALID_VALUE, f'the text {path} cannot be read '
                       f'({getattr(error, "strerror", "") or error}): give a text file in UTF-8'
                       ) from error


def _conversation(folder: ModelFolder, tokenizer: Tokenizer) -> list[int]:
    try:
        template = ChatTemplate.open(folder, tokenizer)
        ids, frame = template.preamble(SYSTEM), template.markup
    except LfmError:  # a base model
        return tokenizer.encode(' '.join(f'{q} {a}' for q, a in TURNS))
    for question, answer in TURNS:
        ids += [*frame.user_prefix, *tokenizer.encode(question), *frame.assistant_prefix,
                *tokenizer.encode(answer), *frame.assistant_suffix]
    return ids


def log_probabilities(folder: ModelFolder, graph: Path, text: Text,
                      providers: Sequence[str] = (CPU,),
                      options: Mapping[str, str] | None = None) -> np.ndarray:
    """Return float32 ``[tokens, vocabulary]``, row i after id i, of the part to measure on."""
    reference = open_reference(graph, folder, embed=open_embed(folder), providers=providers,
                               options=options)
    start, rows = 0, []
    for chunk in text.chunks():
        logits = reference.read(chunk)
        rows.append(logits[max(0, text.seen - start):])
        start += len(chunk)
    found = np.concatenate(rows)
    most = found.max(axis=-1, keepdims=True)
    found -= most + np.log(np.exp(found - most).sum(axis=-1, keepdims=True))
    return found[:-1]  # what follows the last id is not known


def compare(folder: ModelFolder, one: Path, other: Path, text: Text,
            providers: Sequence[str] = (CPU,), options: Mapping[str, str] | None = None
            ) -> dict[str, float]:
    """
    Return how another graph of a model differs from one, on the text held back.

    Differences are those of the log-probability of the id that follows: ``mean``, ``worst``;
    ``same_best``: how often both have the same most likely id; ``loss_before`` and ``loss``: the
    mean negative log-probability of each.

    :param providers: on which the other one runs, the first of them with these options.
    """
    before = log_probabilities(folder, one, text)
    after = log_probabilities(folder, other, text, providers, options)
    follow = np.array(text.ids[text.seen + 1:])[:, None]
    first, second = (np.take_along_axis(p, follow, -1)[:, 0].astype(np.float64)
                     for p in (before, after))
    away = np.abs(first - second)
    found = {'tokens': len(away), 'mean': away.mean(), 'worst': away.max(),
             'same_best': (before.argmax(-1) == after.argmax(-1)).mean(),
             'loss_before': -first.mean(), 'loss': -second.mean()}
    return {name: round(float(value), 5) for name, value in found.items()}
