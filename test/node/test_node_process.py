# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node as a process: signals, names, and several nodes in one process."""
import signal
import subprocess
import sys
import time

from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import DEADLINE
from node_client import query
from node_support import environment
from node_support import MODELS
from node_support import NodeProcess
from node_support import ODD_NODE
from node_support import parameters
from node_support import running_node
import pytest

R = msg.Response


@pytest.mark.parametrize('numbers', [
    [signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT],
    [signal.SIGTERM, signal.SIGINT]], ids=str)
def test_a_signal_or_one_passed_on_twice_ends_the_node_and_everybody_is_answered(
        numbers: list[signal.Signals]) -> None:
    with running_node(program=ODD_NODE) as client:
        goals = [client.generate('(slow 5)', max_tokens=400) for _ in range(3)]
        goals[0].deltas.wait(count=3)
        waiting = client.ask_later('hello')
        results = [goal.accept().get_result_async() for goal in goals]
        client.missions()  # the node has all of these
        for number in numbers[:-1]:
            client.node_process.process.send_signal(number)
        client.node_process.stop(numbers[-1])
        for future in (waiting, *results):
            client.wait_until(future.done, 'an answer')
        assert waiting.result().response.error_code == R.CANCELLED
        ended = [future.result().result.response for future in results]
        assert [r.error_code for r in ended] == [R.CANCELLED] * 3
        assert 'rolled back' in ended[0].error_msg and 'before this' in ended[1].error_msg
        for response in (waiting.result().response, *ended):
            assert 'the node was shut down' in response.error_msg
            assert response.error_msg.endswith(': start it and ask again')


@pytest.mark.parametrize('arguments, status, words', [
    (['--help'], 0, 'usage: lfm_node'), (['-h'], 0, 'model.path:=demo'),
    (['demo'], 2, "'demo' is not an argument"), (['-p', 'model.path:=demo'], 2, '--ros-args -p'),
    (['--model', 'demo'], 2, "'--model'"), (['model.path:=demo'], 2, "'model.path:=demo'"),
    (['--ros-args', '-p', 'model.path:=demo', '--', 'x'], 2, "'x'")])
def test_arguments_that_are_none_of_ros_are_answered(
        arguments: list[str], status: int, words: str) -> None:
    done = subprocess.run([sys.executable, '-m', 'lfm_ros.node.start', *arguments],
                          capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == status
    assert words in (done.stderr if status else done.stdout)
    assert len(done.stderr.splitlines()) == (1 if status else 0)


def test_a_signal_while_tokens_stream_ends_the_node_well() -> None:
    for round_ in range(4):
        with running_node() as client:
            tokens = client.subscribe(msg.Token, '~/tokens')
            client.wait_until(lambda: client.node.count_publishers('/lfm/tokens') == 1, 'tokens')
            asked = client.publisher(msg.Query, '~/query')
            for _ in range(4):
                asked.publish(query('as fast as it can', max_tokens=400, aside=True))
                client.generate('as fast as it can', max_tokens=400, aside=True)
            tokens.wait(count=5 + 5 * round_)
            client.node_process.stop(signal.SIGINT)


@pytest.mark.parametrize('delay', [0.5, 0.7, 0.9, 1.1])
def test_a_signal_during_the_start_ends_the_node_well(delay: float) -> None:
    node = NodeProcess(*parameters(model__path=MODELS / 'lfm2'), forked=False)
    try:
        time.sleep(delay)  # whatever the node is doing then
        node.process.send_signal(signal.SIGINT)
        code = node.process.wait(DEADLINE)
        # While Python imports, a signal ends the process at once.
        wanted = (0,) if '[lfm]' in node.log else (0, -signal.SIGINT)
        assert code in wanted and 'Traceback' not in node.log, node.log
    finally:
        node.close()


def test_names_follow_namespace_and_remapping() -> None:
    with running_node('-r', '__ns:=/robot1', '-r', '__node:=brain', '-r', '~/ask:=/ask_robot1',
                      target='/robot1/brain') as client:
        assert client.call(srv.ListMissions, '~/missions/list').missions == []
        reply = client.call(srv.Ask, '/ask_robot1', srv.Ask.Request(
            query=msg.Query(prompt='hello', max_tokens=2)))
        assert reply.response.error_code == R.NONE
        assert client.generate('hello', max_tokens=2).response().error_code == R.NONE


MODEL_PATHS = {'left': str(MODELS / 'lfm2'), 'right': str(MODELS / 'qwen3')}

TWO_NODES = f"""
from lfm_ros.node.lfm_node import LfmNode
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
import signal
rclpy.init()
executor = SingleThreadedExecutor()
nodes = [LfmNode(name, parameter_overrides=[Parameter('model.path', value=path)])
         for name, path in {MODEL_PATHS}.items()]
for node in nodes:
    executor.add_node(node)
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(nodes[0]))
nodes[1].create_timer(0.01, lambda: told and told.pop().destroy_node())
try:
    executor.spin()
except (KeyboardInterrupt, ExternalShutdownException):
    pass
nodes[1].destroy_node()
rclpy.try_shutdown()
"""


def test_two_nodes_live_in_one_process() -> None:
    with running_node(program=('-c', TWO_NODES), model='', target='/left') as left, \
            Client(left.node_process.domain, '/right') as right:
        right.wait_status(lambda s: s.state == 'active')
        goals = [c.generate('who are you', max_tokens=50) for c in (left, right)]
        texts = [g.response().text for g in goals]
        assert texts[0] != texts[1]
        assert [c.wait_status(lambda s: True).model for c in (left, right)] == ['lfm2', 'qwen3']
        assert left.missions()['default'].turns == right.missions()['default'].turns == 1
        left.reset()
        assert right.missions()['default'].turns == 1
        running = left.generate('go on', max_tokens=400)
        for _ in range(5):
            left.ask_later('go on', max_tokens=400)
        running.deltas.wait()
        left.node_process.process.send_signal(signal.SIGUSR1)
        right.wait_until(lambda: not right.node.count_publishers('/left/status'), 'end of left')
        assert right.ask('hello', max_tokens=5).error_code == R.NONE


def test_a_ros_that_is_too_old_is_named() -> None:
    code = ('import sys; from rclpy.node import Node; del Node.add_post_set_parameters_callback; '
            'from lfm_ros.node.main import main; sys.exit(main([]))')
    done = subprocess.run([sys.executable, '-c', code], env=environment(), text=True,
                          capture_output=True, timeout=DEADLINE)
    assert done.returncode == 2
    assert 'use Jazzy or a later one' in done.stdout + done.stderr
    assert 'Traceback' not in done.stderr
