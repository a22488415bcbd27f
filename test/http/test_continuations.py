# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A conversation goes on in the mission that holds most of it, whoever else asks what."""
from __future__ import annotations

import asyncio
from contextlib import contextmanager

from lfm_ros.http.continuations import Continuations
from lfm_ros.http.conversation import after
from lfm_ros.http.conversation import Conversation
from lfm_ros.http.conversation import Question
from lfm_ros.http.engine_backend import EngineBackend
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.past_turn import PastTurn
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
import pytest
from support import GREEDY
from support import open_model

A, B = PastTurn('Where?', 'Here.'), PastTurn('And now?', 'There.')


@contextmanager
def engine(most=64):
    store = MissionStore(open_model(), 'You are a robot.', RetentionPolicy(max_missions=most))
    scheduler = Scheduler(store, defaults=RequestDefaults(GREEDY, 4))
    try:
        yield EngineBackend(scheduler), store
    finally:
        scheduler.stop()


def conversation(*turns, system=''):
    return Conversation(system, (), turns, Question('What?'))


async def held(continuations, some, note=True):
    """Ask in a conversation; return the mission that was asked."""
    async with continuations.mission_for(some) as mission:
        answer = await continuations._backend.ask(
            Query(some.question.text, mission.name)).answer()
        assert not answer.error_code, answer.error_msg
        if note:
            mission.digests = [*mission.digests, after(mission.digests[-1], PastTurn(
                some.question.text, answer.text))]
        return mission.name, PastTurn(some.question.text, answer.text)


def turns_of(store, name):
    return [(e.prompt, e.text) for e in store.get(name).entries[1:]]


def test_what_a_client_added_meanwhile_is_read_behind_what_is_known():
    async def run(backend, store):
        continuations = Continuations(backend)
        name, said = await held(continuations, conversation(A))
        again, more = await held(continuations, conversation(A, said, B))
        assert again == name
        assert turns_of(store, name) == [(t.prompt, t.answer) for t in (A, said, B, more)]

    with engine() as parts:
        asyncio.run(run(*parts))


def test_a_turn_of_which_nobody_heard_is_taken_back():
    async def run(backend, store):
        continuations = Continuations(backend)
        name, _ = await held(continuations, conversation(A), note=False)
        assert len(turns_of(store, name)) == 2
        again, said = await held(continuations, conversation(A))
        assert again == name
        assert turns_of(store, name) == [(t.prompt, t.answer) for t in (A, said)]
        # A branch of it is right, too.
        await held(continuations, conversation(A, said), note=False)
        other, _ = await held(continuations, conversation(A, B))
        assert other != name and [t[0] for t in turns_of(store, other)] == [
            'Where?', 'And now?', 'What?']

    with engine() as parts:
        asyncio.run(run(*parts))


def test_whoever_asks_the_same_at_once_gets_a_mission_of_its_own():
    async def run(backend, store):
        continuations = Continuations(backend)
        found = await asyncio.gather(*(held(continuations, conversation(A)) for _ in range(5)))
        assert len({name for name, _ in found}) == 5
        assert len({said for _, said in found}) == 1

    with engine() as parts:
        asyncio.run(run(*parts))


@pytest.mark.parametrize('most, there', [(3, 64), (64, 3)])
def test_the_oldest_conversations_make_room(most, there):
    async def run(backend, store):
        continuations = Continuations(backend, most)
        for number in range(8):
            await held(continuations, conversation(system=f'You are robot {number}.'))
            assert len(store.list()) <= 3
        await continuations.forget_all()
        assert not store.list()

    with engine(there) as parts:
        asyncio.run(run(*parts))


def test_missions_of_others_are_left_alone():
    async def run(backend, store):
        await backend.add_turns('openai-old-1', [A])
        await backend.add_turns('patrol', [A])
        continuations = Continuations(backend, 2)
        await continuations.forget_old()
        for number in range(4):
            await held(continuations, conversation(system=f'You are robot {number}.'))
        await continuations.forget_all()
        assert [info.mission_id for info in store.list()] == ['patrol']

    with engine() as parts:
        asyncio.run(run(*parts))
