# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A grammar of answers, compiled and followed in a process of its own."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import re
import struct
import time

from lfm_ros.engine.grammar.process import GrammarServer
from lfm_ros.engine.grammar.process import Worker
from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.engine.grammar.worker import CLOSE
from lfm_ros.engine.grammar.worker import COMPILED
from lfm_ros.engine.grammar.worker import COUNT
from lfm_ros.engine.grammar.worker import GROWTH_BYTES
from lfm_ros.engine.grammar.worker import OPEN
from lfm_ros.engine.grammar.worker import PUSH
from lfm_ros.engine.grammar.worker import REPLY
from lfm_ros.engine.grammar.worker import REQUEST
from lfm_ros.engine.grammar.worker import TOOLS
from lfm_ros.engine.grammar.worker import UNSUPPORTED
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

START_SECONDS = 30.0    # for the server to read the tokenizer
COMPILE_SECONDS = 10.0
REPLY_SECONDS = 2.0     # for what may come next in an answer
SLOW_SECONDS = 0.02     # a grammar that takes longer than that lets all else go first
_NAMES_TOOL = ' cannot be used '  # in a reason that says which tool, or which parameter
# llguidance advises an option of its own.
_ONE_OF = re.compile('oneOf constraints are not supported.*? with anyOf')
_OVERLAP = 'it is not sure that only one option of a oneOf matches: use anyOf, or require in ' \
    'each a property with a const of its own'


@dataclass(frozen=True)
class Reply:
    """
    What may come next in an answer.

    :param complete: nothing may.
    :param count: how many tokens are forced, or were found valid.
    :param forced: tokens that must come.
    :param mask: one bit for each token of the vocabulary: it may come after these.
    :param error: why the answer cannot go on; empty: it can.
    """

    complete: bool
    count: int
    forced: list[int]
    mask: bytes
    error: str = ''


class Grammar:
    """
    A grammar: waiting, compiling, compiled, or one that cannot be used.

    :param memory: bytes that compiling it may take.
    :ivar error: why it cannot be used; None: no reason is known.
    :ivar opening: how an answer may begin, once it is compiled.
    :ivar answers: numbers of those that follow it.
    """

    def __init__(self, source: GrammarSource, memory: int) -> None:
        self.source = source
        self.error: LfmError | None = None
        self.opening: Reply | None = None
        self.answers: set[int] = set()
        self._memory = memory
        self._worker: Worker | None = None
        self._since = 0.0  # when compiling began
        self._asked: dict[int, float] = {}  # when, for the answers that wait for a reply
        self._replies: dict[int, Reply] = {}
        self._count = 0

    def __del__(self) -> None:
        self.close()

    @property
    def done(self) -> bool:
        """Whether it is compiled, or cannot be."""
        return self.opening is not None or self.error is not None

    @property
    def waiting(self) -> bool:
        """Whether compiling has not begun."""
        return not self.done and self._worker is None

    @property
    def compiling(self) -> bool:
        """Whether a process compiles it."""
        return not self.done and self._worker is not None

    @property
    def usable(self) -> bool:
        """Whether its process runs, or it has an error that would come again."""
        if self.opening is None:
            return True
        while self._worker and not self.answers and self._worker.readable(0):
            self._receive()  # sees the end of the process
        return self._worker is not None

    @property
    def nbytes(self) -> int:
        """Return the memory in bytes that its process has or may take."""
        if self._worker is None:
            return 0
        return self._memory + (GROWTH_BYTES if self.answers else 0)

    def start(self, server: GrammarServer) -> None:
        """Begin to compile it."""
        self._worker = server.start_worker(self.source.kind, self.source.text, self._memory)
        self._since = time.monotonic()

    def poll(self, seconds: float = 0.0) -> bool:
        """
        Return whether it is done.

        :param seconds: waits at most so long for that.
        """
        end = time.monotonic() + seconds
        while self.compiling:
            assert self._worker
            now = time.monotonic()
            if self._worker.readable(max(0.0, end - now)):
                self._take_opening()
            elif now - self._since > (COMPILE_SECONDS if self._worker.started else START_SECONDS):
                self._refuse(f'it takes more than {COMPILE_SECONDS:g} s to compile')
            elif now >= end:
                break
        return self.done

    def open(self) -> tuple[int, Reply]:
        """
        Begin an answer that must match; compiling must be done.

        :returns: the number of the answer, and how it may begin.
        :raises LfmError: INVALID_FORMAT with the reason, UNSUPPORTED.
        """
        if self.error:
            raise LfmError(self.error.code, self.error.message)
        assert self.opening, 'it must be done'
        self._count += 1
        self._send(OPEN, self._count)
        self.answers.add(self._count)
        return self._count, self.opening

    def push(self, answer: int, token: int) -> None:
        """Take a token of an answer; a reply will come."""
        self._send(PUSH, answer, [token])

    def validate(self, answer: int, ids: Sequence[int]) -> None:
        """Count how many of some tokens may come next in an answer; a reply will come."""
        self._send(COUNT, answer, ids)

    def wait(self, answer: int, seconds: float) -> bool:
        """
        Wait for the reply to an answer; return whether it has come.

        :raises LfmError: INVALID_FORMAT, when it will not come.
        """
        end = time.monotonic() + seconds
        while answer not in self._replies:
            if self._worker is None:
                raise self._too_complex('the process that matched it has ended')
            now = time.monotonic()
            if self._worker.readable(max(0.0, min(end - now, SLOW_SECONDS))):
                self._receive()
                continue
            taken = now - self._asked[answer]
            if taken > REPLY_SECONDS:
                self.close()
                raise self._too_complex(f'it takes more than {REPLY_SECONDS:g} s for one token')
            if taken > SLOW_SECONDS:
                self._worker.yield_cpu()
            if now >= end:
                return False
        return True

    def receive(self, answer: int) -> Reply:
        """
        Return the reply to an answer; it must have come.

        :raises LfmError: INVALID_FORMAT, when the answer cannot go on.
        """
        reply = self._replies.pop(answer)
        if reply.error:
            raise self._too_complex(reply.error)
        return reply

    def leave(self, answer: int) -> None:
        """Forget an answer."""
        self.answers.discard(answer)
        self._replies.pop(answer, None)
        self._send(CLOSE, answer)

    def close(self) -> None:
        """End its process."""
        worker, self._worker = self._worker, None
        if worker:
            worker.close()

    def _send(self, operation: int, answer: int, ids: Sequence[int] = ()) -> None:
        self._asked[answer] = time.monotonic()
        if operation == CLOSE:
            del self._asked[answer]
        if self._worker:
            self._worker.send(REQUEST.pack(operation, answer) + struct.pack(f'<{len(ids)}i', *ids))

    def _receive(self) -> None:
        """Take a reply to any answer, or the end of the process."""
        assert self._worker
        packet = self._worker.receive()
        if packet is None:
            self.close()
        elif (answer := REPLY.unpack_from(packet)[1]) in self.answers:
            self._replies[answer] = _parse(packet)

    def _take_opening(self) -> None:
        assert self._worker
        started, packet = self._worker.started, self._worker.receive()
        if packet is None:
            self._refuse(f'compiling it takes more than {self._memory >> 20} MB of memory, or it '
                         'is nested too deeply')
        elif not started:
            self._since = time.monotonic()
        else:
            status, memory = COMPILED.unpack_from(packet)
            opening = _parse(packet[COMPILED.size:])
            if status:
                self._refuse(opening.error, status == UNSUPPORTED)
            else:
                self._memory, self.opening = memory, opening

    def _refuse(self, reason: str, unsupported: bool = False) -> None:
        """Take note that it cannot be used, and why."""
        self.close()
        if unsupported:
            self.error = LfmError(ErrorCode.UNSUPPORTED, 'this model does not support structured '
                                  f'output, its tokenizer is of another kind ({reason}): leave '
                                  'response_format and tool_choice empty')
        elif self.source.kind == TOOLS:
            which = reason if _NAMES_TOOL in reason else f'the tools{_NAMES_TOOL}({reason})'
            self.error = LfmError(ErrorCode.INVALID_TOOL, f'{which}: correct the schema of the '
                                  'parameters')
        else:
            self.error = LfmError(ErrorCode.INVALID_FORMAT, f'the {self.source.name} of '
                                  f'response_format cannot be used ({reason}): correct it')

    def _too_complex(self, reason: str) -> LfmError:
        if self.source.kind == TOOLS:
            return LfmError(ErrorCode.INVALID_TOOL, f'the tools are too complex ({reason}): '
                            'simplify the schemas of their parameters')
        return LfmError(ErrorCode.INVALID_FORMAT, f'response_format is too complex ({reason}): '
                        'simplify it')


def _parse(packet: bytes) -> Reply:
    status, _, complete, count = REPLY.unpack_from(packet)
    rest = packet[REPLY.size:]
    if status:
        return Reply(True, 0, [], b'', _first_line(rest.decode(errors='replace')))
    size = 4 * count if len(rest) >= 4 * count else 0  # none behind a count of valid tokens
    return Reply(complete, count, list(memoryview(rest[:size]).cast('i')), rest[size:])


def _first_line(text: str) -> str:
    """Return the reason in a message of llguidance, without the drawing below it."""
    lines = [line.strip() for line in text.splitlines() if line.strip().strip('^')]
    reasons = [line for line in lines if line.startswith('error:')] or lines[:1] or ['no reason']
    return _ONE_OF.sub(_OVERLAP, reasons[0].removeprefix('error:').strip())[:400]
