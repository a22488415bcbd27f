# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A portable model does on an old ONNX Runtime what the model does that it was made of.

The model is prepared here, or was prepared elsewhere, as for a machine whose ONNX Runtime cannot
open the original: LFM_ROS_PORTABLE_MODEL names it, made of the fixture lfm2-int4.
"""
import os
from pathlib import Path

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.prepare.open_model import open_prepared
from log_support import quick_folder
import numpy as np
import pytest
from storage_support import close
from storage_support import open_store
from storage_support import tell
from storage_support import told
from support import assert_same
from support import golden
from support import lfm
from support import log_probabilities

NAME = 'lfm2-int4'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Return the folder of the portable model."""
    given = os.environ.get('LFM_ROS_PORTABLE_MODEL')
    if given:
        return Path(given)
    from lfm_ros.prepare.folder import prepare
    from lfm_ros.prepare.folder import PrepareOptions
    from support import folder
    target = tmp_path_factory.mktemp('portable') / 'out'
    prepare(folder(NAME), target, options=PrepareOptions(portable=True))
    return target


@pytest.fixture(scope='module')
def model(place):
    """Open it as it is."""
    return Model(place, ModelOptions(threads=1, prefill_chunk=16))


@pytest.mark.parametrize('sizes', [[48], [1], [5, 1, 20, 2, 7]], ids=str)
def test_it_gives_the_numbers_of_transformers(model, sizes):
    expected = golden(NAME)
    found = log_probabilities(model, expected['ids'], list(sizes))
    assert np.abs(np.subtract(found, expected['log_probabilities'])).max() \
        <= expected['tolerance']


def test_it_answers_in_the_terminal(place):
    done = lfm('ask', place, 'Where is the dock?', '--max-tokens', '4', '--temperature', '0')
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_a_model_of_the_cache_is_opened_as_it_is(place, tmp_path, model):
    found = open_prepared(place, ModelOptions(threads=1, prefill_chunk=16), cache_dir=tmp_path)
    ids = golden(NAME)['ids']
    assert np.array_equal(*(each.runner.run(each.new_state(), ids[:16])[-1]
                            for each in (found, model)))


def test_its_missions_are_restored_bit_for_bit(model):
    with quick_folder() as disk:
        store, twin = open_store(disk / 'missions', model), open_store(disk / 'twin', model)
        for each in (store, twin):
            tell(each, 'a', 'Where is the dock?')
        close(store)
        store = open_store(disk / 'missions', model)
        answers = [tell(each, 'a', 'And the table?') for each in (store, twin)]
        assert answers[0] == answers[1] and told(store, 'a') == told(twin, 'a')
        for each in (store, twin):
            each.get('a').prefill_all()
        assert_same(store.get('a').state.arrays(), twin.get('a').state.arrays())
        close(store)
        close(twin)
