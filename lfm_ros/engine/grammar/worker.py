# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Compile grammars and follow answers in processes of their own.

A grammar comes from outside, and the native library that compiles it can overflow its stack, run
for minutes and take gigabytes. Here that ends one process, which holds nothing else.

The *server* loads the tokenizer once and waits. For each grammar it forks a *worker*, which shares
the tokenizer's memory, compiles the grammar within limits, and then follows answers, any number at
a time. Both end when their socket is closed at the other end. This file imports as little as it
can: its memory counts in the budget of the robot.
"""
from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import struct
import threading
from typing import Any

from lfm_ros.engine.text.json_format import JSON_STYLE

# A chain of 3,000 rules or 1,500 references takes more than the usual 8 MB.
STACK_BYTES = 64 << 20
GROWTH_BYTES = 16 << 20  # that following answers may add to what compiling took
MAX_FORCED = 1024  # tokens in one reply; the rest is forced again after them
NICENESS = 10      # of compiling: answers in progress go first
# Kinds of what is compiled.
JSON_SCHEMA, REGEX, GRAMMAR, TOOLS = 'json_schema', 'regex', 'grammar', 'tools'
# A state takes up to 2 kB; llguidance's own limit is 250,000.
_MAX_STATES = 5_000
_SILENT = 0
_PR_SET_PDEATHSIG = 1

# Requests to a worker: operation and answer, then ids as int32.
REQUEST = struct.Struct('<BI')
OPEN, PUSH, COUNT, CLOSE = range(4)
# The first packet of a worker: its process id, with a file descriptor of the process. The second,
# once it has compiled: status and bytes of private memory; then what an answer may begin with, as
# in a reply, or the text of an error.
HELLO = struct.Struct('<I')
COMPILED = struct.Struct('<BQ')
# Replies to requests: status, answer, whether nothing more may come, a number: of forced tokens,
# or of valid ones. Then the forced tokens as int32 and the bit mask of what may come next, or the
# text of an error.
REPLY = struct.Struct('<BI?I')
DONE, INVALID, UNSUPPORTED = range(3)
# What the server receives for a worker: kind of its grammar, bytes of memory that it may take.
ORDER = struct.Struct('<16sQ')


def main(control: int) -> None:
    """
    Serve until the other end closes.

    :param control: file descriptor of a socket of packets. Its first packet brings the tokenizer
        as a file, and the size of the vocabulary and the end tokens as JSON; each further one is
        an :data:`ORDER` with the socket of the worker and the file of its grammar.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the node, which will close
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reaped by the kernel
    _limit(resource.RLIMIT_CORE, 0)  # a core file would contain what was asked
    _limit(resource.RLIMIT_STACK, STACK_BYTES)
    threading.stack_size(STACK_BYTES)
    orders = socket.socket(fileno=control)
    settings, files, _, _ = socket.recv_fds(orders, 1 << 16, 1)
    compiler = _Compiler(json.loads(settings), _read(files[0]))
    while True:
        order, files, _, _ = socket.recv_fds(orders, ORDER.size, 2)
        if not order:
            return
        if os.fork() == 0:
            try:
                orders.close()
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                kind, memory = ORDER.unpack(order)
                with socket.socket(fileno=files[0]) as requests:
                    _work(requests, compiler, kind.rstrip(b'\0').decode(), _read(files[1]), memory)
            finally:
                os._exit(0)
        for file in files:
            os.close(file)


class _Compiler:
    """Holds the tokenizer, or why it cannot be used."""

    def __init__(self, settings: dict[str, Any], tokenizer: str) -> None:
        self.error = ''
        try:
            import llguidance
            self._library = llguidance.LLMatcher
            self._limits = llguidance.LLParserLimits(max_lexer_states=_MAX_STATES)
            self._tokenizer = llguidance.LLTokenizer(
                tokenizer, n_vocab=settings['vocabulary'], eos_token=settings['end_ids'])
        except BaseException as error:  # a panic of Rust is no Exception
            self.error = str(error) or type(error).__name__

    def compile(self, kind: str, text: str) -> Any:
        """
        Return a matcher at the beginning of a grammar, or one whose ``is_error()`` holds.

        :raises ValueError: and whatever else the library raises.
        """
        if self.error:
            raise ValueError(self.error)
        if kind == TOOLS:
            return self._compile_tools(**json.loads(text))
        library = self._library
        if kind == JSON_SCHEMA:
            text = library.grammar_from_json_schema(text, defaults=JSON_STYLE)
        elif kind == REGEX:
            text = library.grammar_from_regex(text)
        else:
            text = library.grammar_from_lark(text)
        return library(self._tokenizer, text, log_level=_SILENT, limits=self._limits)

    def _compile_tools(self, grammar: str, parts: list[tuple[str, str]]) -> Any:
        """
        Return the matcher of a Lark grammar.

        :param parts: names of the schemas in it, and these; the first that fails is named.
        """
        matcher = self.compile(GRAMMAR, grammar)
        if matcher.is_error():
            for name, schema in parts:
                part = self.compile(JSON_SCHEMA, schema)
                if part.is_error():
                    reason = part.get_error().strip().splitlines()[0]
                    raise ValueError(f'{name} cannot be used ({reason})')
        return matcher


def _work(requests: socket.socket, compiler: _Compiler, kind: str, text: str,
          memory: int) -> None:
    """Compile a grammar, reply, and follow answers until the other end closes."""
    process = os.pidfd_open(os.getpid())
    socket.send_fds(requests, [HELLO.pack(os.getpid())], [process])
    os.close(process)
    _limit(resource.RLIMIT_DATA, _data_bytes() + STACK_BYTES + memory)
    found: list[Any] = []

    def compile_grammar() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        status, rest = DONE, b''
        try:
            found.append(compiler.compile(kind, text))
            rest = _reply(0, found[0], [])
            status = rest[0]
        except BaseException as error:  # a panic of Rust is no Exception
            status = UNSUPPORTED if compiler.error else INVALID
            rest = REPLY.pack(status, 0, True, 0) + _cut(str(error) or type(error).__name__)
        if status:
            found.clear()
        requests.send(COMPILED.pack(status, _private_bytes()) + rest)

    # In a thread: it has a niceness of its own, which a process could not take back.
    thread = threading.Thread(target=compile_grammar)
    thread.start()
    thread.join()
    if found:
        _limit(resource.RLIMIT_DATA, _data_bytes() + GROWTH_BYTES)
        _follow(requests, found[0])


def _follow(requests: socket.socket, opening: Any) -> None:
    answers: dict[int, Any] = {}
    while request := requests.recv(1 << 17):
        operation, answer = REQUEST.unpack_from(request)
        ids = list(memoryview(request)[REQUEST.size:].cast('i'))
        if operation == OPEN:
            answers[answer] = opening.deep_copy()
        elif operation == CLOSE:
            answers.pop(answer, None)
        elif operation == COUNT:
            requests.send(REPLY.pack(DONE, answer, False, answers[answer].validate_tokens(ids)))
        else:
            requests.send(_reply(answer, answers[answer], ids))


def _reply(answer: int, matcher: Any, ids: list[int]) -> bytes:
    """Take tokens of an answer and those that are forced after them; return what may follow."""
    if ids:
        matcher.consume_tokens(ids)
        forced = matcher.compute_ff_tokens()[:MAX_FORCED]
        if forced:
            matcher.consume_tokens(forced)
    else:
        forced = []  # an answer begins with a token that is chosen
    mask = b'' if matcher.is_stopped() else matcher.compute_bitmask()
    if matcher.is_error():
        return REPLY.pack(INVALID, answer, True, 0) + _cut(matcher.get_error())
    return REPLY.pack(DONE, answer, matcher.is_stopped(), len(forced)) + \
        struct.pack(f'<{len(forced)}i', *forced) + mask


def _read(file: int) -> str:
    """Return the text of a file and close it."""
    size = os.fstat(file).st_size
    with mmap.mmap(file, size, access=mmap.ACCESS_READ) as content:
        os.close(file)
        return content[:].decode()


def _cut(text: str) -> bytes:
    return text[:4096].encode(errors='replace')


def _limit(what: int, amount: int) -> None:
    """Set a limit as far as the hard one lets."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (amount if hard == resource.RLIM_INFINITY else min(amount, hard),
                              hard))


def _data_bytes() -> int:
    """Return the private writable memory of this process that RLIMIT_DATA counts."""
    with open('/proc/self/status', encoding='ascii') as stream:
        return 1024 * int(stream.read().partition('VmData:')[2].split()[0])


def _private_bytes() -> int:
    """Return the memory in bytes that this process does not share with the server."""
    with open('/proc/self/smaps_rollup', encoding='ascii') as stream:
        return 1024 * sum(int(line.split()[1]) for line in stream if line.startswith('Private'))
