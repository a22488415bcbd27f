# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A client of an lfm node."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import time
from typing import Any

from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.action import Generate
from lfm_ros.client.answers import checked
from lfm_ros.client.answers import Choice
from lfm_ros.client.answers import then
from lfm_ros.client.answers import to_choice
from lfm_ros.client.answers import to_value
from lfm_ros.client.fields import refused
from lfm_ros.client.fields import to_float
from lfm_ros.client.fields import to_integer
from lfm_ros.client.fields import to_text
from lfm_ros.client.generation import Generation
from lfm_ros.client.generation import limit_of
from lfm_ros.client.generation import NO_LIMIT
from lfm_ros.client.messages import to_message
from lfm_ros.client.reliable_client import SafeActionClient
from lfm_ros.client.reliable_client import wait_until_known
from lfm_ros.client.toolbox import Function
from lfm_ros.client.toolbox import Toolbox
from lfm_ros.client.waiting import wait_until_done
from lfm_ros.client.waiting import waiting
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future

_STEP = 0.01  # seconds between two checks; rclpy does not wake who waits
_TOKENS = 1000  # with rclpy's 10, tokens are lost while the node of the user is busy
_REPLY = 30.0  # seconds for the reply of a service
_GREEDY = {'sampling': msg.Sampling(temperature=0.0)}
_MAX_ROUNDS = 1000
_TIMEOUT = 10.0  # seconds for a service that is there when all others are


class LfmClient:
    """
    Asks one lfm node.

    In all that asks, ``timeout`` is in seconds, 0 stands for what the node's parameters say, and
    ``fields`` are further fields of ``msg/Query``: numbers of any kind, a text for a list of one,
    dicts for messages, functions for tools, and files, bytes, arrays and images of Pillow for
    images. What a field cannot hold raises TypeError or ValueError. What waits raises
    RuntimeError at once in a callback of the only thread that spins the node.

    :param node: through which to ask.
    :param server: name of the lfm node, with its namespace.
    """

    def __init__(self, node: Node, server: str = '/lfm') -> None:
        if not hasattr(node, 'create_client'):
            raise refused('node', 'a node of rclpy', node)
        self._node = node
        self._server = server = to_text(server, 'server')
        # Replies are received while a callback in the node's own group waits for them.
        self._group = ReentrantCallbackGroup()
        self._ask = node.create_client(srv.Ask, f'{server}/ask', callback_group=self._group)
        self._generate = SafeActionClient(
            node, Generate, f'{server}/generate',
            callback_group=MutuallyExclusiveCallbackGroup(),  # tokens come in order
            feedback_sub_qos_profile=QoSProfile(depth=_TOKENS))
        self._observe = node.create_publisher(msg.Observation, f'{server}/observe', 10)
        self._services: dict[str, Any] = {}

    def wait(self, timeout: float = 30.0) -> None:
        """
        Wait until the node can be reached and its replies arrive.

        :raises TimeoutError: when it cannot.
        """
        timeout = to_float(timeout, 'timeout')
        end = time.monotonic() + timeout
        found = self._ask.wait_for_service(timeout) and self._generate.wait_for_server(timeout)
        # An observation that is sent before its subscriber is found would be lost without a word.
        while found and not self._observe.get_subscription_count():
            found = time.monotonic() < end
            time.sleep(_STEP)
        if not found or not self._is_known(end - time.monotonic()):
            raise TimeoutError(f'no node {self._server} after {timeout:g} s: is it started, with '
                               'the same ROS_DOMAIN_ID?')

    # questions

    def ask(self, prompt: str, mission_id: str = '', timeout: float = 0.0,
            **fields: Any) -> msg.Response:
        """Ask and wait for the whole answer, or for the error that came instead."""
        return self._ask_now('ask_async', prompt, mission_id, timeout, **fields)

    def ask_async(self, prompt: str, mission_id: str = '', timeout: float = 0.0,
                  **fields: Any) -> Future:
        """Ask and return a future of ``srv/Ask.Response``."""
        given = {'prompt': prompt, 'mission_id': mission_id, 'timeout': timeout, **fields}
        return self._ask.call_async(srv.Ask.Request(query=to_message(msg.Query, given)))

    def ask_json(self, prompt: str, schema: dict[str, Any], mission_id: str = '',
                 timeout: float = 0.0, **fields: Any) -> Any:
        """
        Ask for JSON and return its value, which satisfies the schema.

        :raises AnswerError: when there is no answer, or it was cut.
        """
        return to_value(self._ask_now('ask_json_async', prompt, mission_id, timeout,
                                      **_in_json(schema), **fields))

    def ask_json_async(self, prompt: str, schema: dict[str, Any], mission_id: str = '',
                       timeout: float = 0.0, **fields: Any) -> Future:
        """Do as :meth:`ask_json`, but return a future of the value."""
        future = self.ask_async(prompt, mission_id, timeout, **_in_json(schema), **fields)
        return then(future, to_value)

    def choose(self, prompt: str, choices: Sequence[str], mission_id: str = '',
               timeout: float = 0.0, **fields: Any) -> Choice:
        """
        Ask which of some texts is the answer: the likeliest, unless ``sampling`` is given.

        :raises AnswerError: when there is no answer.
        """
        form = _choosing(choices)
        fields = {'response_format': form, **_GREEDY, **fields}
        return to_choice(self._ask_now('choose_async', prompt, mission_id, timeout, **fields),
                         form.choices)

    def choose_async(self, prompt: str, choices: Sequence[str], mission_id: str = '',
                     timeout: float = 0.0, **fields: Any) -> Future:
        """Do as :meth:`choose`, but return a future of the choice."""
        form = _choosing(choices)
        fields = {'response_format': form, **_GREEDY, **fields}
        future = self.ask_async(prompt, mission_id, timeout, **fields)
        return then(future, lambda response: to_choice(response, form.choices))

    def run_tools(self, prompt: str,
                  tools: Toolbox | Function | Iterable[Function | tuple[msg.Tool, Function]],
                  mission_id: str = '', timeout: float = 0.0, rounds: int = 8,
                  **fields: Any) -> msg.Response:
        """
        Ask, call the functions that the model wants, and tell it what they gave, until it answers.

        Functions are called here, one after the other, in the order in which the model wants
        them; coroutines run to their end in a loop of asyncio in another thread.

        :param tools: a :class:`Toolbox`, or what one is made of.
        :param timeout: of each question.
        :param rounds: how often the model may call; then it has to answer in words.
        :raises TypeError: when a function cannot be described.
        :raises AnswerError: when there is no answer.
        """
        box = tools if isinstance(tools, Toolbox) else Toolbox(tools)
        rounds = to_integer(rounds, 'rounds', 0, _MAX_ROUNDS)
        query = to_message(msg.Query, fields, more=['tools', 'rounds'])
        first = {key: getattr(query, key) for key in query.get_fields_and_field_types()}
        first.update(prompt=prompt, mission_id=mission_id, timeout=timeout, tools=box.messages)
        again = {key: first[key] for key in ('sampling', 'max_tokens', 'stop')}
        response = checked(self.ask(**first))
        while response.finish_reason == msg.Response.FINISH_TOOL_CALLS:
            rounds -= 1
            results = [box.run(call, self._wait) for call in response.tool_calls]
            response = checked(self.ask(
                '', mission_id, timeout, tool_results=results,
                tool_choice='auto' if rounds > 0 else 'none', **again))
        return response

    def generate(self, prompt: str, mission_id: str = '',
                 on_token: Callable[[msg.Token], None] | None = None,
                 **fields: Any) -> Generation:
        """
        Ask, and receive the answer while it is written; return at once.

        :param on_token: called with each token.
        """
        if on_token is not None and not callable(on_token):
            raise refused('on_token', 'a function of a message Token', on_token)
        given = {'prompt': prompt, 'mission_id': mission_id, **fields}
        query = to_message(msg.Query, given, more=['on_token'])
        return Generation(self._generate, query, on_token, self.wait_for, self._node)

    def observe(self, text: str, mission_id: str = '', **fields: Any) -> None:
        """
        Tell a mission something that needs no answer.

        :param fields: further fields of ``msg/Observation``, such as images.
        """
        given = {'text': text, 'mission_id': mission_id, **fields}
        self._observe.publish(to_message(msg.Observation, given))

    # missions

    def missions(self) -> list[msg.MissionStatus]:
        """Return all missions of the node."""
        return list(self._call(srv.ListMissions, 'list').missions)

    def add_turns(self, turns: Any, mission_id: str = '', system_prompt: str = '',
                  tools: Any = ()) -> None:
        """Add turns that were held elsewhere, see ``srv/AddTurns``; they may be dicts."""
        self._call(srv.AddTurns, 'add_turns', mission_id=mission_id, turns=turns,
                   system_prompt=system_prompt, tools=tools)

    def reset(self, mission_id: str = '') -> None:
        """Forget all turns of a mission."""
        self._call(srv.ResetMission, 'reset', mission_id=mission_id)

    def delete(self, mission_id: str = '') -> None:
        """Delete a mission."""
        self._call(srv.DeleteMission, 'delete', mission_id=mission_id)

    def fork(self, mission_id: str, new_mission_id: str) -> None:
        """Copy a mission."""
        self._call(srv.ForkMission, 'fork', mission_id=mission_id,
                   new_mission_id=new_mission_id)

    def rewind(self, turns: int, mission_id: str = '') -> None:
        """Take a mission back to where it had that many turns."""
        self._call(srv.RewindMission, 'rewind', mission_id=mission_id, turns=turns)

    def save(self, mission_id: str = '') -> int:
        """Write the state of a mission to the disk now; return the bytes that it takes there."""
        return int(self._call(srv.SaveMission, 'save', mission_id=mission_id).stored_bytes)

    def export(self, mission_id: str = '', file: str = '') -> str:
        """Write a mission into one file; return its path on the node's machine."""
        return str(self._call(srv.ExportMission, 'export', mission_id=mission_id,
                              file=file).path)

    def import_(self, file: str, new_mission_id: str = '') -> str:
        """Take a mission from a file in the node's exports; return what it is called here."""
        return str(self._call(srv.ImportMission, 'import', file=file,
                              new_mission_id=new_mission_id).mission_id)

    def wait_for(self, future: Future, timeout: float = 30.0) -> Any:
        """
        Return the result of a future.

        :raises TimeoutError: when it takes longer than that many seconds.
        """
        timeout = to_float(timeout, 'timeout')
        if future.done():
            return future.result()
        with waiting(self._node, 'await its future, or give that a callback'):
            return self._wait(future, timeout)

    def _wait(self, future: Future, timeout: float = NO_LIMIT) -> Any:
        if not wait_until_done(self._node, future, timeout):
            raise TimeoutError(f'{self._server} did not answer in {timeout:g} s')
        return future.result()

    def _ask_now(self, instead: str, prompt: str, mission_id: str, timeout: float, **fields: Any
                 ) -> msg.Response:
        """Ask and wait; ``instead`` is the name of what asks without waiting."""
        with waiting(self._node, f'use {instead}'):
            future = self.ask_async(prompt, mission_id, timeout, **fields)
            try:
                return self._wait(future, limit_of(timeout)).response
            finally:
                self._ask.remove_pending_request(future)

    def _is_known(self, timeout: float) -> bool:
        return wait_until_known(self._node, self._server, timeout)

    def _call(self, kind: Any, name: str, **fields: Any) -> Any:
        """
        Call a service of the missions.

        :raises AnswerError: when it fails.
        """
        request = to_message(kind.Request, fields)
        with waiting(self._node, 'call it in another thread'):
            client = self._services.get(name)
            if not client:
                client = self._node.create_client(kind, f'{self._server}/missions/{name}',
                                                  callback_group=self._group)
                if not client.wait_for_service(_TIMEOUT) or not self._is_known(_TIMEOUT):
                    self._node.destroy_client(client)
                    raise TimeoutError(f'{client.srv_name} is not there: is the node started?')
                self._services[name] = client
            response = self._wait(client.call_async(request), _REPLY)
        return checked(response) if hasattr(response, 'error_code') else response


def _in_json(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a query for JSON."""
    return {'response_format': {'json_schema': to_text(schema, 'schema', is_json=True)}}


def _choosing(choices: Sequence[str]) -> msg.ResponseFormat:
    """Return the format of one of some texts."""
    return to_message(msg.ResponseFormat, {'choices': choices, 'choice_logprobs': True})
