# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A running lfm node as what the endpoint asks."""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.client import AnswerError
from lfm_ros.client import LfmClient
from lfm_ros.client.generation import Generation
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import ToolCall
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.http.backend import Backend
from lfm_ros.http.backend import Reply
from lfm_ros.http.backend import ServedModel
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import Usage
from lfm_ros.serving.past_turn import PastTurn
from lfm_ros.serving.query import Query
from rclpy.node import Node

_DESCRIPTION = 10.0  # seconds


class NodeReply(Reply):
    """An answer of a node."""

    def __init__(self, generation: Callable[[Callable[[msg.Token], None]], Generation]) -> None:
        super().__init__()
        self._generation = generation(lambda token: self.put(token.text))
        self._generation.future.add_done_callback(lambda future: self._end(future.result()))

    def cancel(self) -> None:
        """Have it end within a token."""
        self._generation.cancel()

    def _end(self, response: msg.Response) -> None:
        self.put(Answer(
            response.request_id, response.mission_id, response.text, response.finish_reason,
            response.error_code, response.error_msg,
            Usage(**{name: getattr(response.usage, name) for name in Usage.__annotations__}),
            tuple(ToolCall(call.name, call.arguments) for call in response.tool_calls)))


class NodeBackend(Backend):
    """
    A node that runs a model.

    :param node: that is spun in another thread.
    :param server: name of the lfm node.
    """

    def __init__(self, node: Node, server: str) -> None:
        self._client = LfmClient(node, server)
        self._describe = node.create_client(srv.GetModelInfo, f'{server}/model_info')

    def wait(self, timeout: float) -> None:
        """
        Wait for the node.

        :raises TimeoutError: when it is not there.
        :raises LfmError: when it has no model.
        """
        self._client.wait(timeout)
        found = self._client.wait_for(self._describe.call_async(srv.GetModelInfo.Request()),
                                      _DESCRIPTION)
        if found.error_code:
            raise LfmError(ErrorCode(found.error_code), found.error_msg)
        self.model = ServedModel(found.name, found.context_length, found.vision)

    def ask(self, query: Query) -> Reply:
        """Ask; returns at once."""
        form = query.response_format
        fields: dict[str, Any] = {
            'images': [], 'compressed_images': _images(query.images), 'sampling': query.sampling,
            'max_tokens': query.max_tokens, 'timeout': query.timeout, 'stop': list(query.stop),
            'response_format': {'json_schema': form.json_schema} if form.json_schema else {},
            'tools': _tools(query.tools),
            'tool_choice': query.tool_choice, 'tool_results': _results(query.results),
            'raw': query.raw, 'suffix': query.suffix}
        query.check()  # with the sentences of the engine, before the client converts anything
        return NodeReply(lambda take: self._client.generate(
            query.prompt, query.mission_id, take, **fields))

    async def add_turns(self, mission_id: str, turns: Sequence[PastTurn], system_prompt: str = '',
                        tools: Sequence[Tool] = ()) -> None:
        """Add turns that were held elsewhere."""
        messages = [{
            'prompt': turn.prompt, 'answer': turn.answer,
            'compressed_images': _images(turn.images), 'tool_results': _results(turn.results),
            'tool_calls': [msg.ToolCall(name=c.name, arguments=c.arguments)
                           for c in turn.calls]} for turn in turns]
        await self._work(lambda: self._client.add_turns(messages, mission_id, system_prompt,
                                                        _tools(tools)))

    async def fork(self, mission_id: str, new_mission_id: str) -> None:
        """Copy a mission."""
        await self._work(lambda: self._client.fork(mission_id, new_mission_id))

    async def rewind(self, mission_id: str, turns: int) -> None:
        """Take a mission back to the end of an earlier turn."""
        await self._work(lambda: self._client.rewind(turns, mission_id))

    async def delete(self, mission_id: str) -> None:
        """Delete a mission."""
        await self._work(lambda: self._client.delete(mission_id))

    async def missions(self) -> list[str]:
        """Return the names of all missions."""
        found = await self._work(self._client.missions)
        return [mission.mission_id for mission in found]

    async def _work(self, work: Callable[[], Any]) -> Any:
        """Call a service in a thread, as the client waits for it."""
        try:
            return await asyncio.to_thread(work)
        except AnswerError as error:
            raise LfmError(ErrorCode(error.code), error.message) from error
        except TimeoutError as error:
            raise LfmError(ErrorCode.NOT_ACTIVE, str(error)) from error


def _images(images: Sequence[ImageSource]) -> list[bytes]:
    return [image.data for image in images if isinstance(image, EncodedImage)]


def _results(results: Sequence[Any]) -> list[msg.ToolResult]:
    return [msg.ToolResult(name=r.name, content=r.content) for r in results]


def _tools(tools: Sequence[Tool]) -> list[msg.Tool]:
    return [msg.Tool(name=t.name, description=t.description, parameters=t.parameters)
            for t in tools]
