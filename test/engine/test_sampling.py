# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens are chosen as the logits processors of transformers would choose them."""
import math

from lfm_ros.engine.sampling import default_sampling
from lfm_ros.engine.sampling import RANGES
from lfm_ros.engine.sampling import Sampler
from lfm_ros.engine.sampling import Sampling
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import pytest

PLAIN = {'temperature': 1.0, 'min_p': 0.0, 'repetition_penalty': 1.0}
RULES = {
    'temperature': {**PLAIN, 'temperature': 0.4},
    'hot': {**PLAIN, 'temperature': 3.0},
    'top_k': {**PLAIN, 'top_k': 5},
    'top_k of all': {**PLAIN, 'top_k': 500},
    'top_p': {**PLAIN, 'top_p': 0.7},
    'a tiny top_p': {**PLAIN, 'top_p': 1e-6},
    'top_p of 0': {**PLAIN, 'top_p': 0.0},
    'min_p': {**PLAIN, 'min_p': 0.2},
    'min_p of 1': {**PLAIN, 'min_p': 1.0},
    'penalty': {**PLAIN, 'repetition_penalty': 1.5},
    'reward': {**PLAIN, 'repetition_penalty': 0.5},
    'as the cards of LFM2': {},
    'all at once': {'temperature': 0.8, 'top_k': 12, 'top_p': 0.9, 'min_p': 0.05,
                    'repetition_penalty': 1.2},
}
CONTEXT = [3, 3, 5, 8, 0]


def reference(logits, rule, context):
    """Return the probabilities, by the formulas of transformers' logits processors."""
    scores = np.array(logits, np.float64)
    for token in set(context):
        scores[token] *= rule.repetition_penalty if scores[token] < 0 \
            else 1 / rule.repetition_penalty
    scores /= rule.temperature
    if rule.top_k:
        scores[scores < np.sort(scores)[-min(rule.top_k, len(scores))]] = -np.inf
    if rule.top_p < 1:
        ascending = np.argsort(scores)
        below = np.cumsum(softmax(scores)[ascending]) <= 1 - rule.top_p
        below[-1] = False
        scores[ascending[below]] = -np.inf
    if rule.min_p:
        found = softmax(scores)
        scores[found < rule.min_p * found.max()] = -np.inf
    return softmax(scores)


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def draws(rule, logits, count):
    """Draw a first token so many times."""
    sampler = Sampler(rule, CONTEXT, len(logits))
    seen = sampler._seen.copy()
    found = []
    for _ in range(count):
        sampler._seen[:] = seen
        found.append(sampler.choose(logits))
    return np.bincount(found, minlength=len(logits))


@pytest.mark.parametrize('name', RULES)
def test_exactly_the_tokens_of_the_reference_are_drawn_and_as_often(name):
    random = np.random.default_rng(4)
    rule = Sampling(**RULES[name], seed=11)
    count = 2500
    for size in (10, 24):
        logits = random.normal(0, 1.5, size).astype(np.float32)
        expected = reference(logits, rule, CONTEXT)
        found = draws(rule, logits, count)
        assert not found[expected == 0].any()
        likely = expected * count >= 5
        wanted = np.append(expected[likely], expected[~likely].sum()) * count
        drawn = np.append(found[likely], found[~likely].sum())
        parts = wanted > 0
        chi = ((drawn - wanted)[parts] ** 2 / wanted[parts]).sum()
        freedom = parts.sum() - 1
        # mean + 4.5 standard deviations of a chi-square; the seed is fixed
        assert chi <= freedom + 4.5 * math.sqrt(2 * freedom) + 1e-9


@pytest.mark.parametrize('top_p', [0.3, 0.9, 0.999, 0.9999999])
def test_top_p_keeps_the_same_tokens_in_a_large_vocabulary(top_p):
    logits = np.random.default_rng(5).normal(0, 1, 3000).astype(np.float32)
    rule = Sampling(**{**PLAIN, 'top_p': top_p}, seed=1)
    kept = reference(logits, rule, []) > 0
    sampler = Sampler(rule, [], len(logits))
    sampler._random = _Sweep(150)
    found = [sampler.choose(logits) for _ in range(150)]
    assert kept[found].all()
    rarest = np.flatnonzero(kept)[logits[kept].argmin()]
    sampler._random = _Always(1 - 1e-12)
    assert abs(logits[sampler.choose(logits)] - logits[rarest]) < 0.05


class _Sweep:
    """Random numbers that cover 0 to 1 evenly."""

    def __init__(self, count):
        self._numbers = iter(np.arange(count) / count)

    def random(self):
        return next(self._numbers)


class _Always:

    def __init__(self, number):
        self._number = number

    def random(self):
        return self._number


@pytest.mark.parametrize('rule', [{'temperature': 0.0}, {'top_k': 1}])
def test_greedy_takes_the_most_likely_token_after_the_penalty(rule):
    logits = np.array([0.0, 2.0, 1.9, -1.0], np.float32)
    assert Sampler(Sampling(**{**PLAIN, **rule}), [1], 4).choose(logits) == 1
    sampler = Sampler(Sampling(**{**PLAIN, **rule, 'repetition_penalty': 1.2}), [1], 4)
    assert sampler.choose(logits) == 2
    assert sampler.choose(logits) == 1, 'the token that was chosen counts, too: 1.9 / 1.2 is less'
    assert logits.tolist() == [0.0, 2.0, np.float32(1.9), -1.0], 'the logits were changed'


def test_a_penalized_token_below_zero_becomes_less_likely():
    logits = np.array([-1.0, -1.1], np.float32)
    rule = Sampling(**{**PLAIN, 'temperature': 0.0, 'repetition_penalty': 1.5})
    assert Sampler(rule, [0], 2).choose(logits) == 1


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others():
    logits = np.random.default_rng(1).normal(0, 1, 300).astype(np.float32)

    def run(seed):
        sampler = Sampler(Sampling(**PLAIN, seed=seed), [], 300)
        return [sampler.choose(logits) for _ in range(20)]
    assert run(7) == run(7)
    assert run(7) != run(8)
    assert run(-1) != run(-1)


def test_a_token_of_probability_zero_is_never_drawn():
    logits = np.full(8, -np.inf, np.float32)
    logits[3] = 0.0
    for name in ('temperature', 'top_k', 'top_p', 'min_p'):
        rule = Sampling(**RULES[name], seed=0)
        assert draws(rule, logits, 50)[3] == 50


@pytest.mark.parametrize('temperature', [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_error_not_a_token(temperature):
    logits = np.zeros(8, np.float32)
    logits[5] = np.nan
    with pytest.raises(LfmError) as caught:
        Sampler(Sampling(**{**PLAIN, 'temperature': temperature}), [], 8).choose(logits)
    assert caught.value.code == ErrorCode.MODEL_RUN_FAILED


@pytest.mark.parametrize('value', [-0.1, math.nan, math.inf, -math.inf, 1e9])
@pytest.mark.parametrize('name', RANGES)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(LfmError) as caught:
        Sampling(**{name: value})
    assert caught.value.code == ErrorCode.INVALID_SAMPLING
    assert caught.value.message.startswith(name)


def test_the_edges_of_every_range_are_allowed():
    for name, (low, high, _) in RANGES.items():
        logits = np.array([1.0, 2.0], np.float32)
        for value in (low, high):
            assert Sampler(Sampling(**{name: value}), [0], 2).choose(logits) in (0, 1)


def test_a_seed_beyond_64_bits_is_refused():
    Sampling(seed=(1 << 63) - 1)
    with pytest.raises(LfmError):
        Sampling(seed=1 << 63)


def test_a_negative_number_leaves_the_default():
    rule = Sampling(temperature=0.7, top_k=3, seed=4)
    unset = {'temperature': -1.0, 'top_k': -1, 'top_p': -1.0, 'min_p': -1.0,
             'repetition_penalty': -1.0, 'seed': -1}
    assert rule.with_overrides(unset) == rule
    assert rule.with_overrides({'temperature': 0.0}).greedy
    with pytest.raises(LfmError):
        rule.with_overrides({'top_p': math.nan})


def test_a_model_that_names_no_sampling_gets_that_of_the_model_cards():
    assert default_sampling({'bos_token_id': 1, 'eos_token_id': 7, 'pad_token_id': 0}) == Sampling(
        temperature=0.3, min_p=0.15, repetition_penalty=1.05)


def test_the_sampling_that_a_model_names_is_taken_whole():
    found = default_sampling({'temperature': 0.1, 'top_k': 50, 'repetition_penalty': 1.05})
    assert found == Sampling(temperature=0.1, top_k=50, min_p=0.0, repetition_penalty=1.05)
    assert default_sampling({'do_sample': True, 'top_p': 0.9}).temperature == 1.0
    assert default_sampling({'do_sample': False, 'temperature': 0.7}).greedy


def test_what_a_generation_config_writes_in_another_type_is_understood():
    assert default_sampling({'temperature': 1, 'top_k': 50.0}).top_k == 50
    assert default_sampling({'temperature': None, 'top_p': 'high'}) == Sampling()


@pytest.mark.parametrize('damaged', [
    {'temperature': 1e9}, {'top_p': math.nan}, {'do_sample': False, 'repetition_penalty': -1}])
def test_a_damaged_generation_config_is_named_in_the_error(damaged):
    with pytest.raises(LfmError) as caught:
        default_sampling(damaged)
    assert caught.value.code == ErrorCode.MODEL_DAMAGED
    assert 'generation_config.json' in caught.value.message


@pytest.mark.parametrize('model_type', ['lfm2_vl', 'lfm2-vl'])
def test_a_model_that_sees_is_asked_as_its_card_says(model_type):
    assert default_sampling({}, model_type) == Sampling(
        temperature=0.1, min_p=0.15, repetition_penalty=1.05)
