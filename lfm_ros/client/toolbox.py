# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Python functions that a model may call."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterable
from enum import Enum
from functools import partial
import inspect
import json
import re
import threading
import types
from typing import Any
from typing import get_args
from typing import get_origin
from typing import get_type_hints
from typing import Literal
from typing import Union

from lfm_ros import msg
from lfm_ros.client.fields import refused
from lfm_ros.client.fields import without_what_ros_cannot_carry
from rclpy.task import Future

Function = Callable[..., Any]

_TAKES = 'functions, or pairs of a message Tool and the function behind it'
_TYPES = {int: 'integer', float: 'number', bool: 'boolean', str: 'string'}
_PARAMETER = re.compile(r':param\s+(\w+):(.*?)(?=\n\s*:|\Z)', re.DOTALL)


class Toolbox:
    """
    Functions that a model may call.

    A function needs a docstring and annotations, see :func:`describe`; what it returns is told to
    the model as it is when it is text, else as JSON. Coroutines run to their end.

    :param tools: functions, or pairs of a ``msg/Tool`` and the function behind it.
    :raises TypeError: when a function cannot be described.
    :ivar messages: the tools, for ``msg/Query``.
    """

    def __init__(self, tools: Function | Iterable[Function | tuple[msg.Tool, Function]]) -> None:
        self.messages: list[msg.Tool] = []
        self._functions: dict[str, Function] = {}
        tools = [tools] if callable(tools) else tools
        if not isinstance(tools, Iterable):
            raise refused('tools', _TAKES, tools)
        for number, tool in enumerate(tools):
            is_pair = _is_pair(tool)
            if not is_pair and not callable(tool):
                raise refused(f'tools[{number}]', _TAKES, tool)
            _check_no_generator(tool[1] if is_pair else tool)
            message, function = tool if is_pair else (describe(tool), _adapt(tool))
            self.messages.append(message)
            self._functions[message.name] = function

    def run(self, call: msg.ToolCall, wait: Callable[[Future], Any] | None = None
            ) -> msg.ToolResult:
        """
        Call a function as the model wants; an exception becomes a result that says so.

        :param wait: waits for a future while a coroutine runs, and spins its node, say.
        """
        try:
            result = self._functions[call.name](**json.loads(call.arguments))
            if inspect.isgenerator(result) or inspect.isasyncgen(result):
                raise TypeError(f'{call.name} gave a generator, of which nothing has run')
            content = _to_text(_awaited(result, wait) if inspect.isawaitable(result) else result)
        except Exception as error:  # whatever it is, the model may know another way
            content = f'error: {type(error).__name__}: {error}'
        return msg.ToolResult(name=call.name, content=without_what_ros_cannot_carry(content))


def describe(function: Function) -> msg.Tool:
    """
    Describe a function to a model: its name, docstring and parameters.

    Parameters are annotated with int, float, bool, str, an Enum, a Literal, a list of these, or
    an Optional of these. What has a default is not required. A parameter is explained in the
    docstring as ``:param name: what it is``.

    :raises TypeError: when it cannot be described.
    """
    name = getattr(function, '__name__', repr(function))
    text = inspect.getdoc(function) or ''
    about = _words(re.split(r'^:', text, maxsplit=1, flags=re.MULTILINE)[0])
    if not name.isidentifier() or not about:
        raise TypeError(f'{name} has no name or no docstring: define it with def, and say in its '
                        'docstring what it does and when to use it')
    explained = {key: _words(words) for key, words in _PARAMETER.findall(text)}
    hints = _hints(function)
    properties, required = {}, []
    for parameter in inspect.signature(function).parameters.values():
        where = f'the parameter {parameter.name} of {name}'
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f'{where} has no name of its own for the model: replace it by '
                            'parameters with names')
        if parameter.name not in hints:
            raise TypeError(f'{where} has no annotation: add one, such as int')
        properties[parameter.name] = _schema(hints[parameter.name], where)
        if parameter.name in explained:
            properties[parameter.name]['description'] = explained[parameter.name]
        if parameter.default is parameter.empty and not _may_be_none(hints[parameter.name]):
            required.append(parameter.name)
    schema = {'type': 'object', 'properties': properties, 'required': required}
    return msg.Tool(name=name, description=about,
                    parameters=json.dumps(schema, ensure_ascii=False) if properties else '')


def _is_pair(tool: Any) -> bool:
    return isinstance(tool, tuple) and len(tool) == 2 and isinstance(tool[0], msg.Tool) and \
        callable(tool[1])


def _check_no_generator(function: Function) -> None:
    """Refuse what would give a generator, of which nothing ever runs."""
    while isinstance(function, partial):
        function = function.func
    for candidate in (function, getattr(type(function), '__call__', None)):
        if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise TypeError(f'{getattr(function, "__name__", function)} is a generator, which '
                            'would not run: return the result instead of yield')


def _awaited(result: Awaitable[Any], wait: Callable[[Future], Any] | None) -> Any:
    """Return what a coroutine gives; it runs in another thread, since a loop may run in this."""
    done: Future = Future()

    async def whole() -> Any:
        return await result

    def run() -> None:
        try:
            value = asyncio.run(whole())
        except BaseException as error:  # a cancelled task is no Exception
            done.set_exception(
                error if isinstance(error, Exception) else RuntimeError(repr(error)))
        else:
            done.set_result(value)

    thread = threading.Thread(target=run, daemon=True, name='lfm_tool')
    thread.start()
    if wait:
        wait(done)
    else:
        thread.join()
    return done.result()


def _hints(function: Function) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except Exception as error:  # of whatever the text of an annotation does
        raise TypeError(f'the annotations of {function.__name__} cannot be read ({error}): use '
                        'names that its module knows') from error


def _schema(hint: Any, where: str) -> dict[str, Any]:
    """Return the JSON schema of an annotation."""
    hint = _without_none(hint)
    if hint in _TYPES:
        return {'type': _TYPES[hint]}
    if get_origin(hint) is list and get_args(hint):
        return {'type': 'array', 'items': _schema(get_args(hint)[0], where)}
    is_enum = isinstance(hint, type) and issubclass(hint, Enum)
    values = [member.value for member in hint] if is_enum else list(get_args(hint))
    kinds = {_TYPES.get(type(value), '') for value in values}
    if (is_enum or get_origin(hint) is Literal) and kinds and '' not in kinds:
        return {'enum': values} if len(kinds) > 1 else {'type': kinds.pop(), 'enum': values}
    raise TypeError(f'{where} is {getattr(hint, "__name__", hint)}, which a model cannot be asked '
                    'for: use int, float, bool, str, an Enum or Literal of these, a list of '
                    'one of them, or an Optional')


def _adapt(function: Function) -> Function:
    """Return a function that takes values as JSON has them, of Enums and of Optionals."""
    hints = get_type_hints(function)
    missing = {p.name: None for p in inspect.signature(function).parameters.values()
               if p.default is p.empty and _may_be_none(hints[p.name])}
    return lambda **arguments: function(
        **{**missing, **{name: _value(hints[name], value) for name, value in arguments.items()}})


def _value(hint: Any, value: Any) -> Any:
    hint = _without_none(hint)
    if isinstance(value, list) and get_origin(hint) is list:
        return [_value(get_args(hint)[0], element) for element in value]
    return hint(value) if isinstance(hint, type) and issubclass(hint, Enum) else value


def _may_be_none(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def _without_none(hint: Any) -> Any:
    """Return what an Optional is of."""
    others = [kind for kind in get_args(hint) if kind is not type(None)]
    return others[0] if _may_be_none(hint) and len(others) == 1 else hint


def _to_text(result: Any) -> str:
    if result is None:
        return 'done'
    return result if isinstance(result, str) else json.dumps(
        result, ensure_ascii=False, default=str)


def _words(text: str) -> str:
    return ' '.join(text.split())
