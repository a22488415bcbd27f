# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Many clients at once: every request is answered exactly once and missions never mix."""
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import random

from action_msgs.msg import GoalStatus
from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import query
from node_support import running_node
import pytest

R = msg.Response
CLIENTS = 8
REQUESTS = 40  # of each client
TALK = [('left', f'left says {i}') for i in range(12)] + [
    ('right', f'and right says {i} times') for i in range(12)]


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node with a long queue."""
    with running_node(queue__size=500, missions__max_count=100) as client:
        yield client


def talk(client: Client, mission: str) -> list[str]:
    """Say one side's sentences to a mission and return the answers."""
    return [client.ask(prompt, mission_id=mission, max_tokens=6).text
            for side, prompt in TALK if mission.endswith(side)]


def flood(domain: int, number: int) -> dict[str, int]:
    """Ask in every way; return how many answers came, by kind."""
    chance = random.Random(number)
    found = {'answered': 0, 'refused': 0, 'cancelled': 0, 'other': 0}
    with Client(domain) as client:
        responses = client.subscribe(msg.Response, '~/response')
        asked = client.publisher(msg.Query, '~/query')
        client.wait_until(lambda: client.node.count_publishers('/lfm/response') == 1, 'response')
        goals, futures, topics = [], [], []
        for turn in range(REQUESTS):
            fields = {'mission_id': f'm{chance.randrange(12)}', 'aside': chance.random() < 0.8,
                      'max_tokens': chance.randrange(1, 8), 'request_id': f'{number}/{turn}'}
            way, prompt = chance.random(), chance.choice(['hello', 'what now', '', 'go on'])
            if way < 0.4:
                goals.append(client.generate(prompt, **fields))
                if chance.random() < 0.5:
                    goals[-1].cancel()
            elif way < 0.7:
                futures.append(client.ask_later(prompt, **fields))
            elif way < 0.9:
                topics.append(fields['request_id'])
                asked.publish(query(prompt, **fields))
                responses.wait(lambda r: r.request_id == topics[-1])
            else:
                client.missions()
                found['other'] += 1
        for goal in goals:
            status, response = goal.end()
            assert (status == GoalStatus.STATUS_SUCCEEDED) == (response.error_code == R.NONE)
            count(found, response)
        for future in futures:
            client.wait_until(future.done, 'answer')
            count(found, future.result().response)
        for name in topics:
            response, = [r for r in responses.messages if r.request_id == name]
            count(found, response)
    return found


def count(found: dict[str, int], response: msg.Response) -> None:
    """Count an answer by its kind."""
    kinds = {R.NONE: 'answered', R.EMPTY_PROMPT: 'refused', R.CANCELLED: 'cancelled',
             R.CONTEXT_FULL: 'refused'}
    found[kinds[response.error_code]] += 1


def test_a_flood_is_answered_to_the_last_request_and_missions_do_not_mix(
        client: Client) -> None:
    alone = {side: talk(client, f'alone {side}') for side in ('left', 'right')}
    start = client.wait_status(lambda s: s.answered == len(TALK))
    domain = client.node_process.domain
    with ThreadPoolExecutor(CLIENTS + 2) as pool:
        floods = [pool.submit(flood, domain, n) for n in range(CLIENTS)]
        talks = {side: pool.submit(talk, client, side) for side in ('left', 'right')}
        interleaved = {side: future.result() for side, future in talks.items()}
        results = [f.result() for f in floods]
    assert interleaved == alone
    total = {kind: sum(r[kind] for r in results) for kind in results[0]}
    assert sum(total.values()) == CLIENTS * REQUESTS
    assert min(total.values()) > 0, total
    answered = start.answered + len(TALK) + sum(total.values()) - total['other']
    status = client.wait_status(
        lambda s: s.answered == answered and not s.running_request_id,
        len(client.status.messages) - 1)
    assert status.failed == total['refused'] + total['cancelled']
    assert status.queue_length == 0


def test_after_the_flood_the_node_is_as_before(client: Client) -> None:
    missions = client.missions()
    assert len(missions) == 16
    for mission in missions:
        reply = client.call(srv.DeleteMission, '~/missions/delete',
                            srv.DeleteMission.Request(mission_id=mission))
        assert reply.error_code == R.NONE
    assert client.missions() == {}
    assert talk(client, 'again left') == talk(client, 'once more left')
