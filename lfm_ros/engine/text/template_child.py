# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The program that renders chat templates, in a process of its own with little memory and time.

It is run as a file and imports nothing of this package. Its argument is a JSON list, the path on
which Jinja is found. It answers each line of input, a JSON object, with another one; the next line
comes after the answer.
"""
from __future__ import annotations

from datetime import datetime
import json
import resource
import select
import sys
from typing import Any

MEMORY_BYTES = 512 << 20  # of addresses; it has 40 MB after its start
CPU_SECONDS = 10          # of one rendering; published templates take 0.001
IDLE_SECONDS = 10.0       # after which it ends
LARGE_BYTES = 128 << 20   # when it keeps so much after a rendering, it ends as well
MAX_TEXT = 4 << 20        # characters; no context holds as many
MAX_STEPS = 100_000       # of all loops over numbers
_MAX_ERROR = 2000


class _Renderer:
    """
    Jinja's immutable sandbox with what transformers adds to it.

    :param source: of the template.
    """

    def __init__(self, source: str) -> None:
        from jinja2.exceptions import SecurityError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
        self.forbidden = SecurityError
        self._steps = 0
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True,
            extensions=[_generation_tag(), 'jinja2.ext.loopcontrols'])
        environment.filters['tojson'] = _tojson
        environment.globals['raise_exception'] = _raise
        environment.globals['range'] = self._range
        environment.globals['strftime_now'] = lambda form: datetime.now().strftime(form)
        self._template = environment.from_string(source)

    def render(self, variables: dict[str, Any]) -> str:
        """Return the text."""
        self._steps = 0
        text = self._template.render(**variables)
        if len(text) > MAX_TEXT:
            raise OverflowError(f'it writes more than {MAX_TEXT} characters')
        text.encode()  # half a character, written as an escape in the template, is no text
        return text

    def _range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._steps += len(numbers)
        if self._steps > MAX_STEPS:
            raise OverflowError(f'it counts further than {MAX_STEPS}')
        return numbers


def _generation_tag() -> Any:
    from jinja2.ext import Extension
    from jinja2.parser import Parser

    class Generation(Extension):
        """The tag ``{% generation %}`` of transformers, which marks what the model writes."""

        tags = {'generation'}

        def parse(self, parser: Parser) -> Any:
            """Return the body of the block as it is."""
            next(parser.stream)
            return parser.parse_statements(('name:endgeneration',), drop_needle=True)
    return Generation


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None,
            separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def _raise(message: str) -> None:
    from jinja2 import TemplateError
    raise TemplateError(message)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _resident_bytes() -> int:
    """Return the memory that it has; ru_maxrss would be that of the process that started it."""
    with open('/proc/self/statm', encoding='ascii') as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()


def _answer(line: bytes, known: dict[str, _Renderer]) -> dict[str, Any]:
    """Render once; a template is a program, it may raise anything."""
    forbidden: Any = ()
    try:
        request = json.loads(line)
        source = request['source']
        if source not in known:
            known.clear()
            known[source] = _Renderer(source)
        forbidden = known[source].forbidden
        return {'text': known[source].render(request['variables'])}
    except MemoryError:
        reason = f'it needs more than {MEMORY_BYTES >> 20} MiB of memory'
    except BaseException as error:
        if isinstance(error, forbidden):
            return {'error': str(error)[:_MAX_ERROR], 'forbidden': True}
        reason = str(error)[:_MAX_ERROR] or type(error).__name__
    known.clear()
    return {'error': reason, 'forbidden': False}


def main() -> None:
    """Answer lines until there are no more, or none comes for a while."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    sys.path[:] = json.loads(sys.argv[1])
    import jinja2.sandbox  # noqa: F401  (before memory is limited)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    known: dict[str, _Renderer] = {}
    while select.select([sys.stdin.buffer], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS)
        try:
            reply = json.dumps(_answer(line, known))
        except MemoryError:
            reply = json.dumps({'error': 'it writes more than there is memory for',
                                'forbidden': False})
        sys.stdout.write(reply + '\n')
        sys.stdout.flush()
        if _resident_bytes() > LARGE_BYTES:
            return


if __name__ == '__main__':
    main()
