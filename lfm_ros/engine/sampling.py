# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Choose the next token from the logits."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
import math
from typing import Any

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

# name: lowest, highest, what the edges mean
RANGES: dict[str, tuple[float, float, str]] = {
    'temperature': (0.0, 5.0, '0 is greedy'),
    'top_k': (0, 1_000_000, '0 keeps all tokens'),
    'top_p': (0.0, 1.0, '1 keeps all tokens'),
    'min_p': (0.0, 1.0, '0 keeps all tokens'),
    'repetition_penalty': (0.1, 5.0, '1 is off'),
}

_COLDEST = 1e-6
_MAX_SETTING = 1e9
_TOP = 256  # so many tokens nearly always hold top_p of the probability


@dataclass(frozen=True)
class Sampling:
    """
    How tokens are chosen.

    The filters work in the order of transformers: penalty, temperature, top_k, top_p, min_p.
    The defaults are those of the LFM2 model cards.

    :param seed: negative: another answer each time.
    """

    temperature: float = 0.3
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.15
    repetition_penalty: float = 1.05
    seed: int = -1

    def __post_init__(self) -> None:
        for name, (low, high, edge) in RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise LfmError(ErrorCode.INVALID_SAMPLING, f'{name} is {value:g}: set it between '
                               f'{low:g} and {high:g} ({edge})')
        if self.seed >= 1 << 63:
            raise LfmError(ErrorCode.INVALID_SAMPLING, f'seed is {self.seed}: set it below 2^63')

    def with_overrides(self, values: Mapping[str, Any]) -> Sampling:
        """Return a copy with these fields set; a negative number leaves the field as it is."""
        known = {f.name for f in fields(self)}
        return replace(self, **{k: v for k, v in values.items()
                                if k in known and v is not None and not v < 0})

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0 or self.top_k == 1


def default_sampling(generation: Mapping[str, Any], model_type: str = 'lfm2') -> Sampling:
    """
    Return the sampling that a model asks for.

    :param generation: generation_config.json of the model. Where it names no sampling, the
        values of the LFM2 model cards hold for LFM2; other models are then greedy, as
        transformers has it.
    """
    given = {n: generation[n] for n in RANGES if isinstance(generation.get(n), (int, float))}
    for name, value in given.items():
        if not abs(value) < _MAX_SETTING:  # NaN, too, and numbers that no float holds
            raise LfmError(ErrorCode.MODEL_DAMAGED, 'generation_config.json of the model cannot '
                           f'be used, correct or delete it: its {name} is not a usable number')
    if 'top_k' in given:
        given['top_k'] = int(given['top_k'])
    try:
        if generation.get('do_sample') is False:
            return Sampling(temperature=0.0, min_p=0.0,
                            repetition_penalty=given.get('repetition_penalty', 1.0))
        if not given:
            if not model_type.startswith('lfm'):
                return Sampling(0.0, 0, 1.0, 0.0, 1.0)
            return Sampling(temperature=0.1) if 'vl' in model_type else Sampling()
        return Sampling(**{'temperature': 1.0, 'min_p': 0.0, 'repetition_penalty': 1.0, **given})
    except LfmError as error:
        raise LfmError(ErrorCode.MODEL_DAMAGED, 'generation_config.json of the model cannot be '
                       f'used, correct or delete it: {error.message}') from error


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """
    Return the natural logarithms of probabilities, float64.

    :param logits: ``[..., vocabulary]``.
    """
    values = logits.astype(np.float64)
    values -= values.max(-1, keepdims=True)
    values -= np.log(np.exp(values).sum(-1, keepdims=True))
    return values


class Sampler:
    """
    Chooses tokens for one answer.

    :param context: ids that the repetition penalty counts: the whole context of the answer.
    """

    def __init__(self, sampling: Sampling, context: Iterable[int], vocabulary: int) -> None:
        self.sampling = sampling
        self._random = np.random.default_rng(sampling.seed if sampling.seed >= 0 else None)
        self._seen = np.zeros(vocabulary, bool)
        self._penalized = sampling.repetition_penalty != 1.0
        if self._penalized:
            self._seen[np.fromiter(context, np.int64)] = True

    def choose(self, logits: np.ndarray) -> int:
        """
        Return the next token id.

        :param logits: float32 ``[vocabulary]``; not changed.
        """
        if not math.isfinite(logits.max()):
            raise LfmError(ErrorCode.MODEL_RUN_FAILED, 'the model produced NaN or infinite '
                           'logits: use another export, fp16 may not be precise enough here')
        rule = self.sampling
        if self._penalized:
            logits = logits.copy()
            seen = np.flatnonzero(self._seen)
            scores = logits[seen]
            penalty = rule.repetition_penalty
            logits[seen] = np.where(scores < 0, scores * penalty, scores / penalty)
        token = int(logits.argmax()) if rule.greedy else self._draw(logits)
        self.note(token)
        return token

    def note(self, token: int) -> None:
        """Take note of a token of the answer."""
        self._seen[token] = True

    def _draw(self, logits: np.ndarray) -> int:
        rule = self.sampling
        # The best is 0: no temperature, however small, makes it overflow.
        with np.errstate(over='ignore'):
            scores = (logits - logits.max()) / np.float32(max(rule.temperature, _COLDEST))
        tokens: np.ndarray | None = None  # None: all
        if 0 < rule.top_k < len(scores):
            tokens = np.argpartition(scores, -rule.top_k)[-rule.top_k:]
        if rule.top_p < 1:
            tokens = _nucleus(scores, tokens, rule.top_p)
        if rule.min_p > 0:
            floor = math.log(rule.min_p)
            if tokens is None:
                tokens = np.flatnonzero(scores >= floor)
            else:
                tokens = tokens[scores[tokens] >= floor]
        kept = scores if tokens is None else scores[tokens]
        total = np.cumsum(np.exp(kept.astype(np.float64)))
        place = int(np.searchsorted(total, self._random.random() * total[-1], side='right'))
        place = min(place, len(total) - 1)
        return int(place if tokens is None else tokens[place])


def _nucleus(scores: np.ndarray, tokens: np.ndarray | None, top_p: float) -> np.ndarray:
    """Return the smallest set of most likely tokens that together reach top_p."""
    pool = np.arange(len(scores)) if tokens is None else tokens
    weights = np.exp((scores[pool] - scores[pool].max()).astype(np.float64))
    weights /= weights.sum()
    count = _TOP
    while True:  # sorting the whole vocabulary would cost more than the model's own step
        if count < len(pool):
            top = np.argpartition(weights, -count)[-count:]
        else:
            top = np.arange(len(pool))
        order = top[np.argsort(-weights[top], kind='stable')]
        before = np.cumsum(weights[order]) - weights[order]
        if count >= len(pool) or before[-1] + weights[order[-1]] >= top_p:
            keep = before < top_p
            keep[0] = True
            return pool[order[keep]]
        count *= 8
