# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Send hostile queries to a node from several threads, while a plain answer streams."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
import threading
import time

from hostile_requests import Case
from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import query

LATE = 1.0     # seconds after its timeout by which a query must be answered
HUNG = 120.0   # seconds after its timeout when its answer is given up
R = msg.Response
EXPECTED = {R.NONE, R.INVALID_TEXT, R.PROMPT_TOO_LONG, R.CONTEXT_FULL, R.INVALID_FORMAT,
            R.INVALID_TOOL, R.QUEUE_FULL, R.TIMEOUT_IN_QUEUE, R.TIMEOUT, R.OVER_BUDGET}
BUSY = {R.QUEUE_FULL, R.TIMEOUT_IN_QUEUE, R.TIMEOUT}  # what an ordinary query may meet


@dataclass
class Result:
    """
    What came of an attack; every fault is one line.

    :ivar overruns: seconds between timeout and answer, the longest first; negative: in time.
    :ivar ordinary: answers to ordinary queries: right, wrong, cut, busy, refused.
    """

    late: float = LATE
    codes: Counter[int] = field(default_factory=Counter)
    ordinary: Counter[str] = field(default_factory=Counter)
    overruns: list[tuple[float, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sent: int = 0

    def record_acceptance(self, name: str, case: Case, response: msg.Response,
                          seconds: float) -> None:
        """Take the answer to a case."""
        code = int(response.error_code)
        self.codes[code] += 1
        name = f'{name} ({case.kind})'
        over = seconds - case.fields['timeout']
        self.overruns = sorted([*self.overruns, (over, name)], reverse=True)[:10]
        if over > self.late:
            self.faults.append(f'{name} was answered {over:.2f} s after its timeout')
        if code not in EXPECTED:
            self.faults.append(f'{name} met error {code}: {response.error_msg[:200]}')
        if '\n' in response.error_msg or len(response.error_msg) > 2000:
            self.faults.append(f'{name} met an error of several lines')
        if case.right:
            outcome = _outcome(case, response)
            self.ordinary[outcome] += 1
            if outcome in ('wrong', 'refused'):
                self.faults.append(f'{name} is ordinary and was {outcome}: {code} '
                                   f'{response.error_msg[:200]} {response.text[:200]!r}')


class Attack:
    """
    Clients that send cases, several at once, until the node is dead or leaves one unanswered.

    :param make: gives the case of a number.
    :param at_once: how many queries are in flight.
    :param late: seconds after its timeout by which a query must be answered.
    """

    def __init__(self, client: Client, make: Callable[[int], Case], at_once: int = 3,
                 late: float = LATE) -> None:
        self.result = Result(late)
        self.in_flight: dict[int, str] = {}
        self.stuck = False
        self._client = client
        self._make = make
        self._at_once = at_once
        self._lock = threading.Lock()

    def run(self, numbers: range, until: float = float('inf'),
            on_sent: Callable[[int], None] = lambda count: None) -> int:
        """
        Send the cases of some numbers.

        :param until: of ``time.monotonic()``; nothing is sent after it.
        :param on_sent: is told after every answer how many came.
        :returns: the number to go on from.
        """
        waiting = iter(numbers)
        following = numbers.start

        def work() -> None:
            nonlocal following
            while self.alive and not self.stuck and time.monotonic() < until:
                with self._lock:
                    number = next(waiting, None)
                    if number is None:
                        return
                    following = number + 1
                self._send(number)
                on_sent(self.result.sent)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self._at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return following

    @property
    def alive(self) -> bool:
        """Tell whether the node still runs."""
        return self._client.node_process.process.poll() is None

    def _send(self, number: int) -> None:
        case = self._make(number)
        message = query(mission_id=f'attack {threading.get_ident() % 97}', **case.fields)
        done = threading.Event()
        with self._lock:
            self.in_flight[number] = case.kind
        started = time.monotonic()
        future = self._client.call_async(srv.Ask, '~/ask', srv.Ask.Request(query=message))
        future.add_done_callback(lambda _: done.set())
        while not done.wait(0.5):
            if not self.alive:
                return  # what is in flight stays there to be named
            if time.monotonic() - started > case.fields['timeout'] + HUNG:
                break
        seconds = time.monotonic() - started
        with self._lock:
            del self.in_flight[number]
            self.result.sent += 1
            if done.is_set():
                self.result.record_acceptance(
                    f'case {number}', case, future.result().response, seconds)
            else:
                self.stuck = True
                self.result.faults.append(f'case {number} ({case.kind}) was never answered, with '
                                          f'these: {self.in_flight}')


class Stream:
    """
    Asks plain questions by action without a pause, and collects the gaps between their tokens.

    :ivar gaps: seconds between tokens of the same answer.
    :ivar errors: error codes of answers that failed.
    """

    def __init__(self, client: Client) -> None:
        self.gaps: list[float] = []
        self.errors: list[str] = []
        self.answers = 0
        self._client = client
        self._going = True
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        self._thread.join(HUNG)

    def _work(self) -> None:
        while self._going and self._client.node_process.process.poll() is None:
            goal = self._client.generate_query(msg.Query(
                prompt='Tell me all that you know.', mission_id='stream', aside=True,
                max_tokens=200, timeout=60.0, sampling=msg.Sampling(temperature=1.0, min_p=0.0)))
            try:
                response = goal.end()[1]
            except TimeoutError as error:
                self.errors.append(str(error))
                continue
            times = goal.deltas.times
            self.gaps += [b - a for a, b in zip(times, times[1:])]
            self.answers += 1
            if response.error_code != R.NONE:
                self.errors.append(response.error_msg)


def _outcome(case: Case, response: msg.Response) -> str:
    """Return what became of an ordinary query."""
    assert case.right
    if response.error_code in BUSY:
        return 'busy'
    if response.error_code:
        return 'refused'
    if response.finish_reason not in (R.FINISH_STOP, R.FINISH_TOOL_CALLS):
        return 'cut'
    try:
        return 'right' if case.right(response) else 'wrong'
    except (ValueError, KeyError):
        return 'wrong'
