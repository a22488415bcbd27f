# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A panic of Rust, which is no Exception, ends no thread and leaves no request unanswered."""
from __future__ import annotations

import json
from pathlib import Path
import shutil
import threading

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.pipeline import edit_losslessly
from lfm_ros.serving import watchdog
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.scheduler import Scheduler
from prepare_support import edited
import pytest
from scheduler_support import answer_of
from scheduler_support import hold
from scheduler_support import in_thread
from scheduler_support import running
from support import DEFAULT
from support import FailingRunner
from support import folder
from support import GREEDY
from support import lfm
from support import LONG_TEXT
from support import snapshot
from support import WAIT

# On this expression the library ``tokenizers`` panics: the number of its steps is bounded.
CATASTROPHIC = '(.*a){20}b'
BAD_TEXT = 'a' * 30


class Panic(BaseException):
    """Raised as Rust's panics are: past every ``except Exception``."""


def catastrophic_model(target: Path) -> Path:
    """Copy a model, with a tokenizer that some texts make panic."""
    shutil.copytree(folder(), target)
    file = target / 'tokenizer.json'
    settings = json.loads(file.read_text())
    split = {'type': 'Split', 'pattern': {'Regex': CATASTROPHIC}, 'behavior': 'Isolated',
             'invert': False}
    known = settings['pre_tokenizer']
    settings['pre_tokenizer'] = {
        'type': 'Sequence', 'pretokenizers': [split, *([known] if known else [])]}
    file.write_text(json.dumps(settings))
    return target


@pytest.fixture
def scheduler():
    with running() as scheduler:
        yield scheduler


def test_a_panic_in_a_turn_undoes_it_and_answers_the_request(scheduler, monkeypatch):
    model = scheduler.store.model
    answer_of(scheduler, 'What?')
    before = in_thread(scheduler, lambda: snapshot(scheduler.store.get('default')))
    with monkeypatch.context() as patch:
        patch.setattr(model, 'runner', FailingRunner(model.runner, 4, Panic('at the disco')))
        answer = answer_of(scheduler, LONG_TEXT)
    assert answer.error_code == ErrorCode.INTERNAL and 'Panic: at the disco' in answer.error_msg
    after = in_thread(scheduler, lambda: snapshot(scheduler.store.get('default')))
    assert after['ids'] == before['ids'] and after['turns'] == before['turns']
    assert answer_of(scheduler, 'Go.').error_code == ErrorCode.NONE


def test_a_panic_in_a_call_for_several_answers_undoes_each_of_them(tmp_path, monkeypatch):
    graph, _ = edited(DEFAULT, tmp_path / 'model', edit_losslessly)
    model, reached = Model(graph.parent, ModelOptions(threads=1)), threading.Event()

    def step(*_):
        reached.set()
        raise Panic
    monkeypatch.setattr(type(model.runner), 'decode_batch', step)
    scheduler = Scheduler(MissionStore(model), defaults=RequestDefaults(GREEDY, 6), parallel=2)
    try:
        assert scheduler.parallel == 2
        gate, first = hold(scheduler, 'm0')
        second = scheduler.submit(Query('Go on.', 'm1', max_tokens=40))
        gate.opened.set()
        answers = [request.wait(WAIT) for request in (first, second)]
        assert reached.is_set()
        assert {answer.error_code for answer in answers} == {ErrorCode.INTERNAL}
        assert not scheduler.store.list()
    finally:
        scheduler.stop()


def test_a_panic_in_other_work_is_given_to_who_asked_for_it(scheduler):
    def fail():
        raise Panic
    with pytest.raises(LfmError, match='Panic'):
        in_thread(scheduler, fail)
    assert answer_of(scheduler, 'Go.').error_code == ErrorCode.NONE


def test_a_panic_while_reading_ahead_or_storing_does_not_end_the_thread(scheduler, monkeypatch):
    reached = threading.Event()

    def fail(*_, **__):
        reached.set()
        raise Panic
    for name in ('next_pending', 'maintain'):
        reached.clear()
        with monkeypatch.context() as patch:
            if name == 'pending_sizes':
                mission = in_thread(scheduler, lambda: scheduler.store.get_or_create('m'))
                patch.setattr(type(mission), 'prefill_next', fail)
                scheduler.observe('m', 'It is dark.').result(WAIT)
            else:
                patch.setattr(scheduler.store, 'maintain', fail)
            assert reached.wait(WAIT)
        assert answer_of(scheduler, 'Go.', mission_id='m').error_code == ErrorCode.NONE


def test_a_receiver_that_panics_hurts_no_other(scheduler):
    def bad(_):
        raise Panic
    assert not scheduler.submit(Query('What?'), bad, bad).wait(WAIT).error_code
    assert not answer_of(scheduler, 'Go.').error_code


def test_when_the_thread_ends_everybody_is_answered_and_it_is_told(monkeypatch):
    lost = []
    with running(on_hang=lost.append) as scheduler:
        gate, running_request = hold(scheduler)
        waiting = scheduler.submit(Query('And?', 'other'))
        job = scheduler.submit_job(lambda: None, 'held')  # waits for the answer
        monkeypatch.setattr(scheduler._running, 'step',
                            lambda _: (_ for _ in ()).throw(Panic('gone')))
        gate.opened.set()
        for request in (running_request, waiting):
            answer = request.wait(WAIT)
            assert answer.error_code == ErrorCode.MODEL_HUNG and 'gone' in answer.error_msg
        with pytest.raises(LfmError, match='restart the process'):
            job.result(WAIT)
        refused = answer_of(scheduler, 'Once more?')
        assert refused.error_code == ErrorCode.MODEL_HUNG and len(lost) == 1


def test_an_undo_that_fails_ends_the_thread_and_answers_the_request(monkeypatch):
    lost = []
    with running(on_hang=lost.append) as scheduler:
        gate, request = hold(scheduler)
        mission = scheduler.store._records['held'].mission
        monkeypatch.setattr(type(mission), 'undo', lambda *_: (_ for _ in ()).throw(Panic('x')))
        request.cancel()
        gate.opened.set()
        assert request.wait(WAIT).error_code == ErrorCode.INTERNAL
        assert answer_of(scheduler, 'Once more?').error_code == ErrorCode.MODEL_HUNG and lost


def test_a_text_on_which_the_tokenizer_panics_is_refused_and_the_next_is_answered(tmp_path):
    model = Model(catastrophic_model(tmp_path / 'model'), ModelOptions(threads=1))
    scheduler = Scheduler(MissionStore(model), defaults=RequestDefaults(GREEDY, 6))
    try:
        answer = answer_of(scheduler, BAD_TEXT)
        assert answer.error_code == ErrorCode.TOKENIZER_INVALID, answer.error_msg
        assert 'tokenizer' in answer.error_msg and '\n' not in answer.error_msg
        with pytest.raises(LfmError, match='tokenizer'):
            scheduler.observe('m', BAD_TEXT).result(WAIT)
        assert answer_of(scheduler, 'Where is the dock?').error_code == ErrorCode.NONE
    finally:
        scheduler.stop()


def test_a_tokenizer_that_takes_for_ever_is_seen_by_the_watchdog(monkeypatch):
    monkeypatch.setattr(watchdog, 'GRACE', 0.1)
    model = Model(folder(), ModelOptions(threads=1, run_timeout=0.2))
    entered, release, lost = threading.Event(), threading.Event(), threading.Event()
    inner = model.tokenizer._inner

    class Slow:

        def __getattr__(self, name):
            return getattr(inner, name)

        def encode_batch_fast(self, texts, **more):
            if 'slow' in texts[0]:
                entered.set()
                assert release.wait(WAIT)
            return inner.encode_batch_fast(texts, **more)

    scheduler = Scheduler(MissionStore(model), defaults=RequestDefaults(GREEDY, 6),
                          on_hang=lambda _: lost.set())
    model.tokenizer._inner = Slow()
    try:
        request = scheduler.submit(Query('slow'))
        assert entered.wait(WAIT) and lost.wait(WAIT)
        assert request.wait(WAIT).error_code == ErrorCode.MODEL_HUNG
    finally:
        release.set()
        scheduler.stop()


def test_the_command_says_in_one_line_that_the_tokenizer_failed(tmp_path):
    result = lfm('ask', catastrophic_model(tmp_path / 'model'), BAD_TEXT)
    assert result.returncode == 1
    assert 'tokenizer' in result.stderr.splitlines()[-1] and 'Traceback' not in result.stderr
