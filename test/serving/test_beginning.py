# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What missions begin as: the same for all, and that of today."""
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import threading
from typing import Any

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.model import Model
from lfm_ros.engine.text.chat_template import ChatTemplate
from lfm_ros.engine.text.template_process import TemplateProcess
from lfm_ros.errors import ErrorCode
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.storage import Storage
import pytest
from scheduler_support import answer_of
from support import ask
from support import GREEDY
from support import open_model
from support import text_of
from support import WAIT

DATE = "strftime_now('%A')"
DATED = "{{ '<|im_start|>system\\nToday is ' + " + DATE + " + '<|im_end|>\\n' }}" \
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content + '\\n' }}{% else %}" \
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}" \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"


class Clock:
    """Says which day it is, in the place of the clock of the machine."""

    def __init__(self) -> None:
        self.day = 'Monday'
        self.renderings = 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock of all templates."""
    clock, render = Clock(), TemplateProcess.render

    def rendered(self: TemplateProcess, source: str, variables: dict[str, Any]) -> str:
        clock.renderings += 1
        return render(self, source.replace(DATE, f"'{clock.day}'"), variables)

    monkeypatch.setattr(TemplateProcess, 'render', rendered)
    return clock


@pytest.fixture
def model(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Give a model whose template tells the day."""
    model = open_model()
    dated = ChatTemplate(DATED, model.template._tokens, model.tokenizer)
    monkeypatch.setattr(Model, 'template', dated)
    return model


@pytest.fixture
def reads(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the lengths of all runs of the model."""
    lengths: list[int] = []
    run = model.runner.run
    monkeypatch.setattr(model.runner, 'run', lambda state, ids, *a, **o:
                        lengths.append(len(ids)) or run(state, ids, *a, **o))
    return lengths


def head(mission: Mission) -> str:
    return mission.model.tokenizer.decode(mission.ids[:mission.head_tokens])


def create(store: MissionStore, name: str) -> Mission:
    return store.get_or_create(name)


def reset(store: MissionStore, name: str) -> Mission:
    store.reset('old')
    return store.get('old')


def observe(store: MissionStore, name: str) -> Mission:
    store.observe(name, 'battery 34 %')
    return store.get(name)


@pytest.mark.parametrize('begin', [create, reset, observe])
@pytest.mark.parametrize('system', ['', 'You are a robot.'])
def test_a_mission_is_told_the_day_on_which_it_begins(
        model: Model, clock: Clock, system: str,
        begin: Callable[[MissionStore, str], Mission]) -> None:
    store = MissionStore(model, system)
    ask(store.get_or_create('old'), 'Where?')
    assert 'Monday' in head(store.get('old'))
    clock.day = 'Tuesday'
    assert 'Tuesday' in head(begin(store, 'new')) and system in head(store.get('old'))
    if begin is not reset:
        assert 'Monday' in head(store.get('old'))  # what was said stays said
    twin = MissionStore(model, system)
    assert text_of(store.get_or_create('other'), 'Where?') == \
        text_of(twin.get_or_create('other'), 'Where?')


def test_what_all_missions_share_is_read_once_a_day(
        model: Model, clock: Clock, reads: list[int]) -> None:
    store = MissionStore(model)
    for day in ('Monday', 'Monday', 'Tuesday', 'Tuesday', 'Monday'):
        clock.day, before = day, len(reads)
        mission = store.get_or_create(f'mission-{before}-{len(store.list())}')
        read = sum(reads[before:])
        changed = len(store.list()) in (3, 5)
        assert read == (mission.head_tokens if changed else 0)
        assert mission.pending == 0 and day in head(mission)


def test_a_template_without_a_date_is_not_rendered_again(clock: Clock) -> None:
    store = MissionStore(open_model(), 'You are a robot.')
    before = clock.renderings
    for name in 'abc':
        store.get_or_create(name)
    assert clock.renderings == before


def test_a_mission_of_another_day_outlives_the_process(
        model: Model, clock: Clock, tmp_path: Path) -> None:
    texts = []
    for day in ('Monday', 'Wednesday'):
        clock.day = day
        store = MissionStore(model, storage=Storage(tmp_path, model))
        if day == 'Monday':
            store.get_or_create('first')
            clock.day = 'Tuesday'
            ask(store.get_or_create('m'), 'Where?')
            store.commit('m')
        mission = store.get('m')
        texts.append((list(mission.ids), text_of(mission.fork('x'), 'And?')))
        assert 'Tuesday' in head(mission) and day in head(store.get_or_create(f'new {day}')) or \
            day == 'Monday'
        store.flush_all()
        store.storage.close()
    assert texts[0] == texts[1]


@pytest.fixture
def scheduler(model: Model) -> Iterator[Scheduler]:
    """Give a running scheduler."""
    scheduler = Scheduler(MissionStore(model), defaults=RequestDefaults(GREEDY, 6))
    yield scheduler
    scheduler.stop()


def test_a_request_begins_a_mission_of_today(scheduler: Scheduler, clock: Clock) -> None:
    answer_of(scheduler, 'Where?', mission_id='old')
    clock.day = 'Tuesday'
    answer = answer_of(scheduler, 'Where?', mission_id='new')
    mission = scheduler.store.get('new')
    assert not answer.error_code and 'Tuesday' in head(mission)
    assert answer.usage.cached_tokens == mission.head_tokens


def test_a_beginning_that_is_cancelled_leaves_nothing(
        scheduler: Scheduler, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.day = 'Tuesday'
    begin, submitted, requests = Mission.begin, threading.Event(), []

    def cancelled(self: Mission, *arguments: Any) -> Iterator[None]:
        for _ in begin(self, *arguments):
            assert submitted.wait(WAIT)
            requests[0].cancel()
            yield

    monkeypatch.setattr(Mission, 'begin', cancelled)
    requests.append(scheduler.submit(Query('Where?', 'new')))
    submitted.set()
    assert requests[0].wait(WAIT).error_code == ErrorCode.CANCELLED
    assert 'new' not in scheduler.store
    monkeypatch.setattr(Mission, 'begin', begin)
    assert not answer_of(scheduler, 'Where?', mission_id='new').error_code
    assert 'Tuesday' in head(scheduler.store.get('new'))
