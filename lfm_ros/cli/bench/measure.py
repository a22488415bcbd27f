# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The process in which `lfm bench` measures one model.

It reads requests from stdin and answers on stdout, one JSON object on each line. Nothing else is
in this process, so its memory is that of the model.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
import json
import os
import sys
import time
from typing import Any

from lfm_ros.cli.options import open_model
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import forget_peak
from lfm_ros.process import peak_bytes
from lfm_ros.process import return_large_memory
import numpy as np

TURN = 20  # tokens of the turn whose first token is waited for
_TELL_EVERY = 0.5  # seconds


def memory() -> dict[str, int]:
    """Return the resident memory of this process, and what of it no other process shares."""
    with open('/proc/self/smaps_rollup', encoding='ascii') as stream:
        lines = [line.split() for line in stream]
    found = {words[0]: 1024 * int(words[1]) for words in lines if words[-1] == 'kB'}
    return {'rss_bytes': found['Rss:'],
            'private_bytes': found['Private_Clean:'] + found['Private_Dirty:']}


def needed(arguments: argparse.Namespace) -> int:
    """Return the tokens that are read or written behind a history."""
    return max(TURN, arguments.prefill, arguments.decode)


class Bench:
    """
    One model and one state of it, whose history only grows.

    :param arguments: those of `lfm bench`.
    :param tell: called with the position now and then while a history is read.
    """

    def __init__(self, arguments: argparse.Namespace, tell: Callable[[int], None]) -> None:
        self._arguments = arguments
        self._tell = tell
        started = time.perf_counter()
        self.model = open_model(arguments, with_text=False, make=True)
        seconds = time.perf_counter() - started
        info = self.model.describe()
        self.about = {
            'model': info['name'], 'graph': info['graph'], 'dialect': info['dialect'],
            'context_length': info['context_length'],
            'state_bytes_fixed': info['state_bytes_fixed'],
            'state_bytes_token': info['state_bytes_token'],
            'appends_in_place': info['shared_kv'], 'reads_in_chunks': info['reads_in_chunks'],
            'load_seconds': seconds, **memory()}
        self.model.warm_up()
        self._random = np.random.default_rng(0)
        self._state = self.model.new_state()
        self._mark = self._state.mark()

    def go_to(self, history: int) -> dict[str, Any]:
        """Have so many tokens in the state, and capacity for what is measured behind them."""
        forget_peak()
        started = time.perf_counter()
        state, start = self._state, self._state.position
        if self._arguments.pretend:
            state.set_position_unchecked(history)
            for buffer in state.key_value:  # until they are written, pages take no memory
                buffer.wipe(start)
        else:
            self._read(history - start)
        seconds = time.perf_counter() - started
        self._mark = state.mark()
        state.reserve(history + needed(self._arguments))
        self._read(TURN)  # what is measured then finds its memory ready
        state.restore(self._mark)
        return {'history_seconds': seconds}

    def round(self) -> dict[str, Any]:
        """Measure each speed once behind the history."""
        state, prefill, decode = self._state, self._arguments.prefill, self._arguments.decode
        started = time.perf_counter()
        self._read(TURN)
        turn = time.perf_counter() - started
        state.restore(self._mark)
        started = time.perf_counter()
        token = self._read(prefill)
        prefilled = time.perf_counter() - started
        state.restore(self._mark)
        started = time.perf_counter()
        for _ in range(decode):
            token = int(self.model.runner.run(state, [token])[-1].argmax())
        decoded = time.perf_counter() - started
        state.restore(self._mark)
        return {'turn_seconds': turn, 'prefill_tokens_per_second': prefill / prefilled,
                'decode_tokens_per_second': decode / decoded}

    def sizes(self) -> dict[str, Any]:
        """Return what memory is taken behind the history, and what its runs took at most."""
        return {**memory(), 'peak_rss_bytes': peak_bytes(), 'state_bytes': self._state.nbytes}

    def _read(self, count: int) -> int:
        """Read random tokens; return the most likely next one."""
        token, told = 0, time.monotonic()
        ids = self._random.integers(0, self.model.vocabulary, count).tolist()
        for chunk in self.model.chunks(ids):
            token = int(self.model.runner.run(self._state, chunk)[-1].argmax())
            if time.monotonic() - told > _TELL_EVERY:
                told = time.monotonic()
                self._tell(self._state.position)
        return token


def main() -> int:
    """Answer until there are no more requests."""
    return_large_memory()  # as the node does
    answers = os.fdopen(os.dup(1), 'w', encoding='ascii')
    os.dup2(2, 1)  # what a library prints is no answer
    bench: Bench | None = None

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    try:
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                if bench is None:
                    bench = Bench(argparse.Namespace(**asked), lambda n: answer(position=n))
                    result = bench.about
                else:
                    result = getattr(bench, asked.pop('do'))(**asked)
                answer(result=result)
            except LfmError as error:
                answer(error_code=int(error.code), error_msg=error.message)
            except MemoryError:
                answer(error_code=int(ErrorCode.OUT_OF_MEMORY), error_msg='there is not enough '
                       'memory for this history: lower --contexts or take a smaller model')
    except BrokenPipeError:  # the command was ended
        os._exit(1)
    return 0


if __name__ == '__main__':
    sys.exit(main())
