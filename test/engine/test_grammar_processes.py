# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Grammars are compiled and followed in processes of their own, which may die."""
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

from lfm_ros.engine.grammar import compiler as grammar_compiler
from lfm_ros.engine.grammar import grammar
from lfm_ros.engine.grammar.matcher import FixedAnswer
from lfm_ros.engine.grammar.matcher import GrammarMatcher
from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.tools import Tool
from lfm_ros.errors import ErrorCode
from lfm_ros.prepare.pipeline import edit_losslessly
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.scheduler import Scheduler
import numpy as np
from prepare_support import edited
from process_tree import descendants
from process_tree import wait_for_end
import pytest
from scheduler_support import answer_of
from scheduler_support import in_thread
from support import DEFAULT
from support import folder
from support import GREEDY
from support import LONG_TEXT
from support import ROOT
from support import WAIT

YES = ResponseFormat(regex='(yes|no)')
# Takes minutes and gigabytes without limits.
ENDLESS = ResponseFormat(grammar='start: A\nA: ' + ' & '.join(
    f'/.*{chr(0x4e00 + n)}.*/' for n in range(300)))


@pytest.fixture
def scheduler():
    """Give a scheduler whose model has no grammars yet."""
    model = Model(folder(), ModelOptions(threads=1))
    scheduler = Scheduler(MissionStore(model), defaults=RequestDefaults(GREEDY, 8), parallel=4)
    try:
        yield scheduler
    finally:
        scheduler.stop()
        model.close()


class Processes:
    """The processes that a test has started for grammars; those of other tests may be there."""

    def __init__(self) -> None:
        self._before = {child.pid for child in descendants(os.getpid())}

    @property
    def servers(self) -> list[int]:
        """Return the processes from which workers are forked."""
        return [child.pid for child in descendants(os.getpid()) if child.pid not in self._before
                and b'engine.grammar.worker' in Path(f'/proc/{child.pid}/cmdline').read_bytes()
                and int(Path(f'/proc/{child.pid}/stat').read_text().split()[3]) == os.getpid()]

    @property
    def workers(self) -> list[int]:
        """Return the processes of single grammars."""
        return [child.pid for server in self.servers for child in descendants(server)]


@pytest.fixture
def processes(scheduler):
    """Give the processes of the scheduler's model, which has none yet."""
    return Processes()


def chain(kind: str, length: int) -> ResponseFormat:
    """Return a form that is as deep as it is long."""
    if kind == 'rules':
        rules = [f'r{n}: r{n + 1}' for n in range(length)]
        return ResponseFormat(grammar='\n'.join(['start: r0', *rules, f'r{length}: "x"']))
    last: object = {'const': 'x'}
    link = {'items': lambda ref: {'type': 'array', 'items': ref, 'minItems': 1, 'maxItems': 1},
            'allOf': lambda ref: {'allOf': [ref]}}[kind]
    parts = {f'd{n}': link({'$ref': f'#/$defs/d{n + 1}'}) for n in range(length)}
    schema = {'$ref': '#/$defs/d0', '$defs': {**parts, f'd{length}': last}}
    return ResponseFormat(json.dumps(schema))


@pytest.mark.parametrize('kind, length', [('rules', 3000), ('items', 1200), ('allOf', 1400)])
def test_a_form_that_overflows_an_ordinary_stack_is_used_or_refused(scheduler, kind, length):
    answer = answer_of(scheduler, 'Say it.', response_format=chain(kind, length), max_tokens=40)
    assert answer.error_code in (ErrorCode.NONE, ErrorCode.INVALID_FORMAT), answer.error_msg
    if kind == 'rules':
        assert answer.text == 'x'
    assert answer_of(scheduler, 'And?', response_format=YES).text in ('yes', 'no')


def test_a_form_that_takes_too_much_memory_is_refused(scheduler, monkeypatch):
    monkeypatch.setattr(grammar_compiler, 'MAX_MEMORY', 16 << 20)
    monkeypatch.setattr('lfm_ros.serving.structured_output.MAX_MEMORY', 16 << 20)
    answer = answer_of(scheduler, 'Say it.', response_format=ENDLESS)
    assert answer.error_code == ErrorCode.INVALID_FORMAT and '16 MB' in answer.error_msg
    assert answer_of(scheduler, 'And?', response_format=YES).text in ('yes', 'no')


def test_a_form_that_takes_too_long_is_refused(scheduler, monkeypatch):
    answer_of(scheduler, 'First.', response_format=YES)  # the server is there
    monkeypatch.setattr(grammar, 'COMPILE_SECONDS', 0.1)
    answer = answer_of(scheduler, 'Say it.', response_format=ENDLESS)
    assert answer.error_code == ErrorCode.INVALID_FORMAT and '0.1 s' in answer.error_msg


def test_the_time_of_a_request_ends_while_its_form_is_compiled_and_so_does_the_process(
        scheduler, processes):
    answer_of(scheduler, 'First.', response_format=YES)
    before = set(processes.workers)
    request = scheduler.submit(Query('Say it.', response_format=ENDLESS, timeout=0.2))
    answer = request.wait(WAIT)
    assert answer.error_code == ErrorCode.TIMEOUT_IN_QUEUE and 'compiling' in answer.error_msg
    in_thread(scheduler, lambda: None)
    for worker in set(processes.workers) - before:
        wait_for_end(worker)


def test_cancel_ends_the_compiling(scheduler):
    answer_of(scheduler, 'First.', response_format=YES)
    request = scheduler.submit(Query('Say it.', response_format=ENDLESS))
    while not request.compiling:
        in_thread(scheduler, lambda: None)
    request.cancel()
    assert request.wait(WAIT).error_code == ErrorCode.CANCELLED
    assert 'default' in scheduler.store  # of the first question; nothing of this one is left
    assert in_thread(scheduler, lambda: scheduler.store.get('default').turn_count) == 1


def test_others_are_answered_while_a_form_is_compiled(scheduler):
    slow = scheduler.submit(Query('Say it.', 'slow', response_format=ENDLESS))
    for number in range(5):
        assert not answer_of(scheduler, 'And?', mission_id=f'm{number}').error_code
        assert not answer_of(scheduler, 'And?', mission_id='f', response_format=YES).error_code
    assert slow.answer is None
    behind = scheduler.submit(Query('Next.', 'slow'))  # the same mission keeps its order
    slow.cancel()
    assert not behind.wait(WAIT).error_code
    assert slow.answer and slow.answer.error_code == ErrorCode.CANCELLED


def test_tools_are_compiled_like_a_form(scheduler):
    schema = {'properties': {'a': {'allOf': [
        {'type': 'string', 'pattern': chr(0x4e00 + n)} for n in range(250)]}}}
    tool = Tool('go', 'Go.', json.dumps(schema))
    slow = scheduler.submit(Query('Go.', 'slow', tools=(tool,), tool_choice='go', timeout=1.0))
    assert not answer_of(scheduler, 'And?', mission_id='m').error_code
    answer = slow.wait(WAIT)
    assert answer.error_code in (ErrorCode.TIMEOUT_IN_QUEUE, ErrorCode.INVALID_FORMAT)
    assert 'slow' not in scheduler.store


def test_a_process_that_dies_while_it_follows_an_answer_ends_that_answer_only(
        scheduler, processes, monkeypatch):
    push, killed = GrammarMatcher.push, []

    def push_and_kill(self, token):
        push(self, token)
        if not killed:
            killed.extend(processes.workers)
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(GrammarMatcher, 'push', push_and_kill)
    form = ResponseFormat(regex='[a-z]{40}')
    answer = answer_of(scheduler, 'Say it.', mission_id='m', response_format=form, max_tokens=40)
    assert killed and answer.error_code == ErrorCode.INVALID_FORMAT, answer
    assert 'm' not in scheduler.store
    answer = answer_of(scheduler, 'Say it.', mission_id='m', response_format=form, max_tokens=60)
    assert answer.error_code == ErrorCode.NONE and len(answer.text) == 40


def test_a_process_that_stops_answering_is_given_up(scheduler, processes, monkeypatch):
    push, stopped = GrammarMatcher.push, []

    def push_and_stop(self, token):
        if not stopped:
            stopped.extend(processes.workers)
            os.kill(stopped[0], signal.SIGSTOP)
        push(self, token)

    monkeypatch.setattr(GrammarMatcher, 'push', push_and_stop)
    monkeypatch.setattr(grammar, 'REPLY_SECONDS', 0.1)
    answer = answer_of(scheduler, 'Say it.', max_tokens=40,
                       response_format=ResponseFormat(regex='[a-z]{40}'))
    assert answer.error_code == ErrorCode.INVALID_FORMAT and '0.1 s' in answer.error_msg
    wait_for_end(stopped[0])


def test_answers_whose_grammar_is_slow_are_the_same_while_others_run(tmp_path, monkeypatch):
    graph, _ = edited(DEFAULT, tmp_path / 'model', edit_losslessly)
    model = Model(graph.parent, ModelOptions(threads=1))
    assert model.runner.can_rollback and model.options.prompt_lookup
    form = ResponseFormat(regex='((go|look|say) (left|right|up|down), ){14}')
    wait, waited = GrammarMatcher.wait, []

    def slow_wait(self, seconds):
        waited.append(self)
        return len(waited) % 4 == 0 and wait(self, 1.0)

    def answers(parallel):
        scheduler = Scheduler(MissionStore(model), defaults=RequestDefaults(GREEDY, 160),
                              parallel=parallel)
        try:
            requests = [scheduler.submit(Query(f'{n} ' * (n + 3) + LONG_TEXT, f'm{n}',
                                               response_format=form)) for n in range(4)]
            found = [request.wait(WAIT) for request in requests]
        finally:
            scheduler.stop()
        assert not any(answer.error_code for answer in found), found
        return [answer.text for answer in found]

    expected = answers(1)
    monkeypatch.setattr(GrammarMatcher, 'wait', slow_wait)
    assert answers(4) == expected and len(waited) > 100
    model.close()


def test_a_server_that_was_ended_is_started_again(scheduler, processes):
    assert answer_of(scheduler, 'Say it.', response_format=YES).text in ('yes', 'no')
    [server] = processes.servers
    os.kill(server, signal.SIGKILL)
    wait_for_end(server)
    for form in (ResponseFormat(regex='(left|right)'), YES):  # one is new, one was compiled before
        assert answer_of(scheduler, 'Say it.', response_format=form).error_code == ErrorCode.NONE


def test_few_processes_are_kept(scheduler, processes):
    for number in range(2 * grammar_compiler.MAX_KEPT):
        assert answer_of(scheduler, 'Say it.', response_format=ResponseFormat(
            regex=f'{number}')).text == f'{number}'
    assert 0 < len(processes.workers) <= grammar_compiler.MAX_KEPT


def test_nothing_is_left_when_the_model_is_closed(scheduler, processes):
    answer_of(scheduler, 'Say it.', response_format=YES)
    known = [*processes.workers, *processes.servers]
    assert len(known) == 2
    scheduler.stop()
    scheduler.store.model.close()
    for process in known:
        wait_for_end(process)


def test_the_processes_end_with_one_that_is_killed():
    code = 'import sys; sys.path[:0] = sys.argv[1:]\n' \
        'from support import folder\nfrom lfm_ros.engine.model import Model\n' \
        'from lfm_ros.engine.grammar.source import GrammarSource\n' \
        'from support import compiled\n' \
        'model = Model(folder())\n' \
        'grammar = compiled(model, GrammarSource("regex", "a+"))\n' \
        'print("ready", flush=True)\nsys.stdin.read()'
    process = subprocess.Popen(
        [sys.executable, '-c', code, str(ROOT / 'test' / 'support'), str(ROOT)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdin
    assert process.stdout.readline() == b'ready\n'
    started = [child.pid for child in descendants(process.pid)]
    assert len(started) == 3  # with that of templates
    process.kill()
    process.communicate()
    for pid in started:
        wait_for_end(pid)


def test_a_schema_may_nest_only_so_deep(scheduler):
    deep: object = {'type': 'integer'}
    for _ in range(120):
        deep = {'type': 'array', 'items': deep}
    text = json.dumps(deep)
    answer = answer_of(scheduler, 'Say it.', response_format=ResponseFormat(text))
    assert answer.error_code == ErrorCode.INVALID_FORMAT and '100 levels' in answer.error_msg
    answer = answer_of(scheduler, 'Go.', tools=(Tool('go', '', json.dumps(
        {'properties': {'a': deep}})),))
    assert answer.error_code == ErrorCode.INVALID_TOOL and '100 levels' in answer.error_msg


def test_a_fixed_answer_leaves_no_choice():
    matcher = FixedAnswer([3, 1, 4])
    logits = np.zeros(8, np.float32)
    matcher.mask(logits)
    assert matcher.wait(0) and list(np.flatnonzero(np.isfinite(logits))) == [3]
    matcher.push(3)
    assert not matcher.complete
    for ids, valid in (([1, 4, 4], 2), ([1, 5], 1), ([], 0)):
        matcher.validate(ids)
        assert matcher.valid == valid
    assert matcher.forced() == [1, 4] and matcher.complete


def test_the_same_source_under_another_name_is_the_same_grammar():
    assert GrammarSource('regex', 'a', 'x') == GrammarSource('regex', 'a', 'y')
