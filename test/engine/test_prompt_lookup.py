# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens are guessed from the mission's own text, checked together, and never change an answer."""
from __future__ import annotations

import random

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.decoding.generation import Generation
from lfm_ros.engine.decoding.generation import STOP
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.decoding.prompt_lookup import PromptLookup
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.prepared_runs import SHORT
from lfm_ros.engine.sampling import Sampling
from lfm_ros.prepare.pipeline import edit_losslessly
import numpy as np
from prepare_support import edited
import pytest
from support import ask
from support import assert_same
from support import check_invariants
from support import check_read_again
from support import DEFAULT
from support import GREEDY
from support import MODELS
from support import new_mission

NAMES = (DEFAULT, 'lfm2', 'lfm2-odd', 'lfm2-int4', 'qwen3')
DEMO = MODELS.parent.parent / 'lfm_ros' / 'models' / 'demo'
MISSION = ['The loading bay is at waypoint 31.', 'The dock is at waypoint 7.',
           'Where is the loading bay?', 'Go to waypoint 31 at 0.5 m/s.', 'Where is the dock?',
           'Where is the loading bay?', 'Go to waypoint 31 at 0.5 m/s.', 'Where is the lift?']


class Scripted:
    """A sampler that writes what a test wants, whatever the model says."""

    def __init__(self, ids):
        self._left = list(ids)

    def choose(self, logits):
        return self._left.pop(0)


@pytest.fixture(scope='module')
def models(tmp_path_factory, memory_kind):
    """Return a function that opens a prepared model, with guesses and without."""
    found = {}

    def open_both(name):
        if name not in found:
            graph, _ = edited(name, tmp_path_factory.mktemp('model'), edit_losslessly)
            found[name] = [Model(graph.parent, ModelOptions(threads=1, prompt_lookup=lookup))
                           for lookup in (True, False)]
        return found[name]
    return open_both


def write(model, script, context, monkeypatch, limits=None):
    """Write a script as an answer; return the generation."""
    state = model.new_state()
    logits = model.runner.run(state, context)[-1].copy()
    limits = limits or Limits(len(script) + 5)
    with monkeypatch.context() as patch:
        patch.setattr('lfm_ros.engine.decoding.generation.Sampler', lambda *_: Scripted(script))
        generation = Generation(model, state, GREEDY, limits)
        for _ in generation.steps(logits, context):
            pass
    return generation


def test_what_followed_the_same_words_before_is_guessed():
    draft = PromptLookup([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7], 8)
    guess = draft.propose(3)
    assert guess and guess == [8, 9, 10][:len(guess)]


def test_the_longest_match_is_taken():
    draft = PromptLookup([9, 1, 2, 3, 50, 8, 0, 1, 2, 3, 60, 7, 0, 1, 2, 3], 8)
    assert draft.propose(8)[:1] == [60]


@pytest.mark.parametrize('context', [[], [1], [1, 2, 3], [1, 2, 3, 4, 5, 6]])
def test_without_a_match_nothing_is_guessed(context):
    assert PromptLookup(context, 4).propose(8) == []


def test_guesses_stop_when_they_are_wrong_and_come_back_for_longer_matches():
    draft = PromptLookup([1, 2, 3, 4] * 2 + [1, 2, 3], 100)
    for _ in range(20):
        guess = draft.propose(8)
        draft.record_acceptance(len(guess), 0)
    assert draft.propose(8) == []


def test_guesses_grow_while_they_are_right():
    draft = PromptLookup([*range(40), *range(10)], 64)
    first = len(draft.propose(15))
    for _ in range(10):
        draft.record_acceptance(15, 15)
    assert len(draft.propose(15)) == 15 >= first > 0


def test_a_guess_never_reaches_beyond_what_is_known():
    random.seed(1)
    for _ in range(300):
        ids = [random.randint(0, 3) for _ in range(random.randint(0, 40))]
        draft = PromptLookup(ids, 4)
        guess = draft.propose(15)
        text = ','.join(map(str, ids))
        assert not guess or ','.join(map(str, ids[-3:] + guess)) in text


@pytest.mark.parametrize('name', NAMES)
def test_prepared_models_take_tokens_back(models, name):
    assert models(name)[0].runner.can_rollback


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kept', [0, 2, 3, 5, SHORT])
def test_tokens_that_are_taken_back_leave_nothing_behind(models, name, kept):
    model, ids = models(name)[0], list(range(5, 5 + SHORT))
    state, expected = model.new_state(), model.new_state()
    for one in (state, expected):
        model.runner.run(one, [1, 2, 3])
    model.runner.run(state, ids, every=True)
    model.runner.rollback(state, kept)
    if kept:
        model.runner.run(expected, ids[:kept])
    assert_same(state.arrays(), expected.arrays())
    found = model.runner.run(state, [4, 5]).copy()
    assert np.array_equal(found, model.runner.run(expected, [4, 5]))


@pytest.mark.parametrize('name', NAMES)
def test_any_answer_is_written_as_without_guesses(models, name, monkeypatch):
    random.seed(name)
    lookup, plain = models(name)
    ends = lookup.end_ids
    words = [i for i in range(3, 60) if i not in ends]
    for _ in range(6):
        context = random.choices(words, k=30)
        script = []
        while len(script) < 40:  # pieces of the context, and other words between
            start = random.randrange(26)
            script += context[start:start + random.randint(1, 12)] + random.choices(words, k=1)
        script = script[:40] + [min(ends)]
        found = write(lookup, script, context, monkeypatch)
        expected = write(plain, script, context, monkeypatch)
        assert (found.ids, found.text, found.finish_reason) == \
            (expected.ids, expected.text, expected.finish_reason)
        assert sum(found.chunk_sizes) == found.read and all(found.chunk_sizes)
        assert found.state.position == len(context) + found.read
        assert found.drafted and not expected.drafted
        again = plain.new_state()
        plain.runner.run(again, context)
        start = 0
        for size in found.chunk_sizes:
            plain.runner.run(again, found.ids[start:start + size])
            start += size
        assert_same(again.arrays(), found.state.arrays())


@pytest.mark.parametrize('tokens', range(1, 12))
def test_an_answer_ends_at_its_length_within_a_guess(models, tokens, monkeypatch):
    context = list(range(5, 45))
    found = write(models(DEFAULT)[0], context[3:], context, monkeypatch, Limits(tokens))
    assert len(found.ids) == tokens and found.finish_reason == 'length'


def test_an_answer_stops_at_a_text_within_a_guess(models, monkeypatch):
    lookup, plain = models(DEFAULT)
    context = lookup.tokenizer.encode('The red box is on the table near the door. ' * 2)
    script = [*context[:len(context) // 2], min(lookup.end_ids)]
    limits = Limits(60, ['near'])
    found, expected = (write(m, script, context, monkeypatch, limits) for m in (lookup, plain))
    assert found.stopped_by_text and found.finish_reason == STOP
    assert found.text == expected.text


def test_the_demo_model_answers_the_same_with_fewer_calls(models, tmp_path, monkeypatch):
    monkeypatch.setattr('prepare_support.folder', lambda name: DEMO)
    graph, _ = edited('demo', tmp_path, edit_losslessly)
    answers, calls = [], []
    for lookup in (True, False):
        model = Model(graph.parent, ModelOptions(threads=1, prompt_lookup=lookup))
        mission = Mission('m', model, model.template.preamble())
        answers.append([ask(mission, prompt, max_tokens=40).generation.text for prompt in MISSION])
        calls.append(len(mission.chunk_sizes))
        check_invariants(mission)
    assert answers[0] == answers[1]
    assert calls[0] < 0.8 * calls[1]


@pytest.mark.parametrize('name', NAMES)
def test_a_mission_with_guesses_is_the_same_bit_for_bit_when_it_is_read_again(models, name):
    model = models(name)[0]
    mission = new_mission(model)
    for turn in range(4):
        ask(mission, 'box box box box box table table table', max_tokens=20)
    check_invariants(mission)
    check_read_again(mission)


def test_sampling_draws_the_same_tokens_with_the_same_seed(models):
    lookup, plain = models('lfm2')
    for seed in range(5):
        sampling = Sampling(temperature=0.7, repetition_penalty=1.1, min_p=0.05, seed=seed)
        texts = [ask(new_mission(model), 'Where is the box? ' * 4, sampling, 40).generation.text
                 for model in (lookup, plain)]
        assert texts[0] == texts[1]
