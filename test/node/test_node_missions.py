# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The services that look after missions, and what the node tells of itself."""
from collections.abc import Iterator
import threading
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import LATCHED
from node_support import running_node
import pytest


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


def rewind(client: Client, mission_id: str, turns: int) -> Any:
    """Take a mission back and return the response."""
    return client.call(srv.RewindMission, '~/missions/rewind', srv.RewindMission.Request(
        mission_id=mission_id, turns=turns))


def test_list_tells_what_each_mission_takes(client: Client) -> None:
    client.ask('hello', mission_id='one', max_tokens=10)
    client.ask('hello', mission_id='two', max_tokens=10)
    client.ask('again', mission_id='two', max_tokens=10)
    missions = client.missions()
    one, two = missions['one'], missions['two']
    assert (one.turns, two.turns) == (1, 2)
    assert two.tokens > one.tokens > 10
    assert one.bytes > 0 and one.resident
    assert 0 <= two.idle_seconds <= one.idle_seconds < 60


def test_a_mission_that_was_reset_is_like_a_new_one(client: Client) -> None:
    first = client.ask('who are you', mission_id='reset', max_tokens=15)
    assert client.ask('who are you', mission_id='reset', max_tokens=15).text != first.text
    assert client.reset('reset').error_code == 0
    assert client.missions()['reset'].turns == 0
    again = client.ask('who are you', mission_id='reset', max_tokens=15)
    assert (again.text, again.usage.prompt_tokens) == (first.text, first.usage.prompt_tokens)


def test_a_deleted_mission_is_gone_and_may_begin_again(client: Client) -> None:
    first = client.ask('who are you', mission_id='delete', max_tokens=15)
    reply = client.call(srv.DeleteMission, '~/missions/delete',
                        srv.DeleteMission.Request(mission_id='delete'))
    assert reply.error_code == 0 and 'delete' not in client.missions()
    reply = client.call(srv.DeleteMission, '~/missions/delete',
                        srv.DeleteMission.Request(mission_id='delete'))
    assert reply.error_code == msg.Response.UNKNOWN_MISSION and "'delete'" in reply.error_msg
    assert client.ask('who are you', mission_id='delete', max_tokens=15).text == first.text


def test_a_fork_goes_on_like_the_original_and_on_its_own(client: Client) -> None:
    client.ask('the dock is blue', mission_id='trunk', max_tokens=10)
    assert client.fork('trunk', 'branch').error_code == 0
    assert client.fork('trunk', 'branch').error_code == msg.Response.MISSION_EXISTS
    left = client.ask('what is blue', mission_id='trunk', max_tokens=15)
    client.ask('something else', mission_id='trunk', max_tokens=15)
    right = client.ask('what is blue', mission_id='branch', max_tokens=15)
    assert left.text == right.text
    assert client.missions()['trunk'].turns == 3
    assert client.missions()['branch'].turns == 2


def test_a_rewound_mission_answers_as_it_did_then(client: Client) -> None:
    texts = [client.ask(p, mission_id='rewind', max_tokens=10).text for p in 'abcd']
    assert rewind(client, 'rewind', 5).error_code == msg.Response.UNKNOWN_TURN
    for turns in (2, 1, 0):
        assert rewind(client, 'rewind', turns).error_code == 0
        assert client.missions()['rewind'].turns == turns
        again = client.ask('abcd'[turns], mission_id='rewind', max_tokens=10)
        assert again.text == texts[turns]
        assert rewind(client, 'rewind', turns).error_code == 0
    assert rewind(client, 'no such mission', 0).error_code == msg.Response.UNKNOWN_MISSION


def test_operations_on_a_busy_mission_wait_for_the_end_of_its_turn(client: Client) -> None:
    goals = [client.generate('go on', mission_id='busy', max_tokens=60) for _ in range(3)]
    goals[0].deltas.wait()
    assert client.fork('busy', 'copy').error_code == msg.Response.NONE
    for goal in goals:
        assert goal.response().finish_reason in ('stop', 'length')
    assert 1 <= client.missions()['copy'].turns <= 3
    assert client.missions()['busy'].turns == 3


def test_a_late_subscriber_learns_the_status_at_once(client: Client) -> None:
    client.ask('hello', mission_id='status', max_tokens=3)
    late = client.subscribe(msg.Status, '~/status', LATCHED)
    status = late.wait()[0]
    assert (status.state, status.model) == ('active', 'lfm2')
    assert status.queue_size == 8 and status.rss_bytes > 10_000_000
    assert status.state_bytes >= sum(m.bytes for m in status.missions) > 0
    assert 'status' in {m.mission_id for m in status.missions}


def test_diagnostics_come_at_1_hz_also_while_the_model_is_busy(client: Client) -> None:
    diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
    enough = threading.Event()

    def keep_busy() -> None:
        while not enough.is_set():
            client.ask('go on and on', mission_id='load', max_tokens=200, aside=True)

    load = threading.Thread(target=keep_busy)
    load.start()
    try:
        diagnostics.wait(count=4)
        client.wait_status(lambda s: bool(s.running_request_id))
    finally:
        enough.set()
        load.join()
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in diagnostics.messages]
    mean = (stamps[3] - stamps[0]) / 3
    assert 0.8 < mean < 1.5, f'one message in {mean:.2f} s'
    report, = diagnostics.messages[-1].status
    assert report.level == DiagnosticStatus.OK and report.hardware_id == 'lfm2'
    values = {v.key: v.value for v in report.values}
    assert values['state'] == 'active' and int(values['answered']) > 0


def test_a_question_does_not_overtake_observations_that_were_sent_before(client: Client) -> None:
    tell = client.publisher(msg.Observation, '~/observe')
    client.wait_until(lambda: tell.get_subscription_count() == 1, 'subscriber')
    answers = set()
    for number in range(20):
        mission = f'told {number}'
        for text in ('the door is open', 'the light is on', 'the dock is free', 'it is late'):
            tell.publish(msg.Observation(mission_id=mission, text=text))
        response = client.ask('what now', mission_id=mission, max_tokens=8)
        assert response.error_code == msg.Response.NONE
        answers.add((response.text, client.missions()[mission].tokens))
        client.call(srv.DeleteMission, '~/missions/delete',
                    srv.DeleteMission.Request(mission_id=mission))
    assert len(answers) == 1
