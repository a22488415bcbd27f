# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph can do is tried out once, and kept with what was prepared of it."""
from __future__ import annotations

import json

import pytest

pytest.importorskip('onnx')

from lfm_ros.engine.model import Model  # noqa: E402, I100
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402
from lfm_ros.engine.runtime import probes as trials  # noqa: E402
from lfm_ros.engine.runtime.capabilities import FILE  # noqa: E402
from lfm_ros.prepare.cache import ready  # noqa: E402
from support import folder  # noqa: E402
from support import new_mission  # noqa: E402
from support import text_of  # noqa: E402

TRIALS = ('can_continue', 'can_share', 'can_rollback', 'rows_independent')


@pytest.fixture
def prepared(tmp_path):
    return ready(Model(folder('lfm2')).folder, tmp_path)


@pytest.fixture
def tried(monkeypatch):
    """Give the names of the trials that were made since it was cleared."""
    made = []

    def watch(name, reference):
        def watched(*arguments):
            made.append(name)
            return reference(*arguments)
        monkeypatch.setattr(trials, name, watched)
    for name in TRIALS:
        watch(name, getattr(trials, name))
    return made


def test_the_second_opening_tries_nothing_and_knows_the_same(prepared, tried):
    first = Model(folder('lfm2'), ModelOptions(prepared=prepared))
    assert tried == list(TRIALS)
    tried.clear()
    second = Model(folder('lfm2'), ModelOptions(prepared=prepared))
    assert tried == []
    assert second.runner.capabilities == first.runner.capabilities
    answers = [text_of(new_mission(model), 'Where is the box?') for model in (first, second)]
    assert answers[0] == answers[1]


def test_another_number_of_threads_is_tried_anew(prepared, tried):
    for threads in (1, 2, 1, 2):
        Model(folder('lfm2'), ModelOptions(prepared=prepared, threads=threads))
    assert tried == 2 * list(TRIALS)
    assert len(json.loads((prepared / FILE).read_text())) == 2


@pytest.mark.parametrize('damaged', [
    '', '[]', '{', '{"session": 1}', '{"%s": {}}', '{"%s": {"vocabulary": "many"}}', '{"%s": 7}'])
def test_what_cannot_be_read_is_tried_anew_and_written_again(damaged, prepared, tried):
    options = ModelOptions(prepared=prepared)
    Model(folder('lfm2'), options)
    good = (prepared / FILE).read_text()
    session = next(iter(json.loads(good)))
    (prepared / FILE).write_text(damaged.replace('%s', session))
    tried.clear()
    Model(folder('lfm2'), options)
    assert tried == list(TRIALS)
    assert json.loads((prepared / FILE).read_text())[session] == json.loads(good)[session]


def test_a_graph_as_it_was_downloaded_is_tried_at_every_opening(tried):
    for _ in range(2):
        Model(folder('lfm2'))
    assert tried.count('can_share') == 2
