# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Python functions as tools: how they are described, and how they are called."""
import asyncio
from enum import Enum
from functools import partial
import json
from typing import Any
from typing import List
from typing import Literal
from typing import Optional

from lfm_ros.client import describe
from lfm_ros.client import Toolbox
from lfm_ros.engine.text.tools import Tool
from lfm_ros.msg import Tool as ToolMessage
from lfm_ros.msg import ToolCall
import pytest


class Side(Enum):
    """A side of the robot."""

    LEFT = 'left'
    RIGHT = 'right'


class Robot:
    """Remembers what it was told to do."""

    def turn(self, side: Side, degrees: int = 90, speed: Optional[float] = None) -> Any:
        """
        Turn on the spot.

        Use it when the way ahead is blocked.

        :param degrees: how far,
            1 to 180
        :returns: nothing
        """
        self.done = (side, degrees, speed)


def everything(count: int, name: str, fast: bool, width: 'Optional[float]', sides: List[Side],
               gear: Literal['high', 'low'], level: Literal[1, 2.5] = 1) -> Any:
    """Do all."""
    return [count, name, fast, width, sides, gear, level]


def run(function: Any, **arguments: Any) -> str:
    """Call a function as a model would, and return what the model is told."""
    call = ToolCall(name=function.__name__, arguments=json.dumps(arguments))
    return Toolbox([function]).run(call).content


def test_a_function_is_described_by_its_docstring_and_annotations() -> None:
    tool = describe(Robot().turn)
    assert (tool.name, tool.description) == (
        'turn', 'Turn on the spot. Use it when the way ahead is blocked.')
    assert json.loads(tool.parameters) == {
        'type': 'object', 'required': ['side'], 'properties': {
            'side': {'type': 'string', 'enum': ['left', 'right']},
            'degrees': {'type': 'integer', 'description': 'how far, 1 to 180'},
            'speed': {'type': 'number'}}}


def test_every_kind_of_parameter_has_its_schema() -> None:
    tool = describe(everything)
    schema = json.loads(tool.parameters)
    assert schema['properties'] == {
        'count': {'type': 'integer'}, 'name': {'type': 'string'}, 'fast': {'type': 'boolean'},
        'width': {'type': 'number'},
        'sides': {'type': 'array', 'items': {'type': 'string', 'enum': ['left', 'right']}},
        'gear': {'type': 'string', 'enum': ['high', 'low']}, 'level': {'enum': [1, 2.5]}}
    assert schema['required'] == ['count', 'name', 'fast', 'sides', 'gear']
    Tool(tool.name, tool.description, tool.parameters).check()


def test_a_function_gets_members_of_enums_and_none_for_what_is_not_there() -> None:
    robot = Robot()
    assert run(robot.turn, side='left') == 'done'
    assert robot.done == (Side.LEFT, 90, None)
    assert run(everything, count=1, name='a', fast=True, sides=['right'], gear='low') == \
        '[1, "a", true, null, ["Side.RIGHT"], "low", 1]'


def test_what_a_function_raises_is_told_to_the_model() -> None:
    def dock() -> None:
        """Dock."""
        raise RuntimeError('the dock is taken')

    assert run(dock) == 'error: RuntimeError: the dock is taken'
    assert run(Robot().turn, side='up').startswith("error: ValueError: 'up'")
    assert run(Robot().turn, far=1).startswith('error: ')


def test_a_schema_of_ones_own_goes_with_any_callable() -> None:
    message = ToolMessage(name='say', description='Say it.', parameters='{"type": "object"}')
    tools = Toolbox([(message, lambda **words: words)])
    assert tools.messages == [message]
    assert tools.run(ToolCall(name='say', arguments='{"a": "ö"}')).content == '{"a": "ö"}'


class Drive:
    """Something that can be called, and has to be awaited."""

    async def __call__(self, place: str) -> str:
        await asyncio.sleep(0)
        return f'arrived at the {place}'

    async def method(self, place: str) -> str:
        """Drive to a place."""
        return await self(place)

    def sync(self, place: str) -> Any:
        """Drive to a place."""
        return self(place)


DRIVE = ToolMessage(name='drive', parameters='{"properties": {"place": {"type": "string"}}}')


@pytest.mark.parametrize('tool', [
    Drive().method, Drive().sync, (DRIVE, Drive()), (DRIVE, partial(Drive().method)),
    (DRIVE, lambda **arguments: Drive()(**arguments))])
def test_a_coroutine_runs_to_its_end(tool: Any) -> None:
    tools = Toolbox([tool])
    call = ToolCall(name=tools.messages[0].name, arguments='{"place": "dock"}')
    assert tools.run(call).content == 'arrived at the dock'

    async def inside() -> str:  # where a loop runs already
        return tools.run(call).content

    assert asyncio.run(inside()) == 'arrived at the dock'


@pytest.mark.parametrize('error', [RuntimeError('the dock is taken'), asyncio.CancelledError()])
def test_what_a_coroutine_raises_is_told_to_the_model(error: BaseException) -> None:
    async def drive() -> None:
        """Drive."""
        raise error

    assert run(drive).startswith('error: RuntimeError')


def test_a_coroutine_gets_members_of_enums() -> None:
    async def look(side: Side) -> Any:
        """Look."""
        return side.name

    assert json.loads(describe(look).parameters)['properties']['side']['enum'] == ['left', 'right']
    assert run(look, side='left') == 'LEFT'


def steps(place: str) -> Any:
    """Drive."""
    yield place


async def async_steps(place: str) -> Any:
    """Drive."""
    yield place


class Steps:
    """Something that can be called, of which nothing runs."""

    def __call__(self) -> Any:
        yield 1


@pytest.mark.parametrize('tool', [
    steps, async_steps, partial(steps, 'dock'), (DRIVE, steps), (DRIVE, async_steps),
    (DRIVE, Steps()), (DRIVE, partial(partial(async_steps)))])
def test_a_generator_is_no_tool(tool: Any) -> None:
    with pytest.raises(TypeError, match='is a generator, which would not run'):
        Toolbox([tool])


@pytest.mark.parametrize('function', [steps, async_steps])
def test_a_generator_that_a_tool_gives_is_told_as_an_error(function: Any) -> None:
    tools = Toolbox([(DRIVE, lambda place: function(place))])
    result = tools.run(ToolCall(name='drive', arguments='{"place": "dock"}'))
    assert result.content == 'error: TypeError: drive gave a generator, of which nothing has run'


def no_docstring(place: str) -> None:
    pass


def no_annotation(place) -> None:  # type: ignore[no-untyped-def]
    """Drive."""


def a_dictionary(places: dict) -> None:  # type: ignore[type-arg]
    """Drive."""


def either(place: 'int | str') -> None:
    """Drive."""


def any_number(*places: int) -> None:
    """Drive."""


def unknown_names(place: 'Nowhere') -> None:  # type: ignore[name-defined] # noqa: F821
    """Drive."""


@pytest.mark.parametrize('function, reason', [
    (no_docstring, 'no_docstring has no name or no docstring'),
    (lambda: None, '<lambda> has no name or no docstring'),
    (no_annotation, 'the parameter place of no_annotation has no annotation'),
    (a_dictionary, 'the parameter places of a_dictionary is dict, which a model'),
    (either, r'the parameter place of either is .*, which a model'),
    (any_number, 'the parameter places of any_number has no name of its own'),
    (unknown_names, "the annotations of unknown_names cannot be read .*'Nowhere'")])
def test_what_cannot_be_described_is_refused_with_a_sentence(function: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        Toolbox([function])
