# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The engine gives the numbers that transformers gives for the same weights."""
import json

import numpy as np
import pytest
from support import continue_greedily
from support import folder
from support import golden
from support import lfm
from support import log_probabilities
from support import NAMES
from support import open_model

SPLITS = {
    'in one call': [48], 'token by token': [1], 'in chunks of 16': [16],
    'in uneven chunks': [5, 1, 20, 2, 7], 'a long prompt, then steps': [40, 1],
}


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('name', NAMES)
def test_log_probabilities_are_those_of_transformers(name, split):
    expected = golden(name)
    found = log_probabilities(open_model(name), expected['ids'], list(SPLITS[split]))
    assert np.abs(np.subtract(found, expected['log_probabilities'])).max() \
        <= expected['tolerance']


@pytest.mark.parametrize('name', NAMES)
def test_the_greedy_continuation_is_that_of_transformers(name):
    expected = golden(name)
    if expected['tolerance'] > expected['margin']:
        pytest.skip('this quantization may choose another token')
    found = continue_greedily(open_model(name), expected['prompt'], len(expected['greedy']))
    assert found == expected['greedy']


@pytest.mark.parametrize('name', [n for n in NAMES if golden(n)['tolerance'] <= 1e-4])
def test_exact_models_do_not_depend_on_the_split_into_calls(name):
    model, ids = open_model(name), golden(name)['ids']
    at_once = log_probabilities(model, ids, [48])
    for split in ([1], [3], [47, 1]):
        assert np.allclose(log_probabilities(model, ids, split), at_once, atol=2e-5)


@pytest.mark.parametrize('name', NAMES)
def test_two_states_in_turn_do_not_disturb_each_other(name):
    model, ids = open_model(name), golden(name)['ids']
    alone = model.new_state()
    expected = [model.runner.run(alone, [i])[0].copy() for i in ids[:8]]
    one, two = model.new_state(), model.new_state()
    for place, token in enumerate(ids[:8]):
        assert np.array_equal(model.runner.run(one, [token])[0], expected[place])
        model.runner.run(two, [ids[-1 - place]])


@pytest.mark.parametrize('name, chunk', [('lfm2-past-conv', 7), ('lfm2-past-conv-odd', 1)])
def test_lfm_score_prints_one_object_with_the_golden_numbers(name, chunk):
    expected = golden(name)
    done = lfm('score', folder(name), '--ids', ','.join(map(str, expected['ids'])),
               '--chunk', chunk, '--json')
    assert (done.returncode, done.stderr) == (0, '')
    found = json.loads(done.stdout)['logprobs']
    assert np.allclose(found, expected['log_probabilities'], rtol=0, atol=expected['tolerance'])


def test_logits_after_the_last_token_are_the_last_row_of_all_logits():
    model, ids = open_model(), golden('lfm2-past-conv')['ids'][:9]
    every = model.runner.run(model.new_state(), ids, every=True).copy()
    assert every.shape == (9, model.vocabulary) and every.dtype == np.float32
    last = model.runner.run(model.new_state(), ids)
    assert last.shape == (1, model.vocabulary)
    assert np.array_equal(last[0], every[-1])
