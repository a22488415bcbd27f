# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A node whose model hangs when the prompt says so, for the tests.

- ``(hang 3)``: the third call of the model ends only when it is told to;
- ``(freeze 3)``: it does not end then either;
- ``(end)``: the thread of the model ends.
"""
from __future__ import annotations

import re
import sys

from hang_support import Hang
from lfm_ros.node.main import main
from lfm_ros.serving import watchdog
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.request import Request
from lfm_ros.serving.running_requests import RunningRequests


class Panic(BaseException):
    """Raised as Rust's panics are: past every ``except Exception``."""


_hang = Hang()
_begin = RunningRequests.begin


def begin(self: RunningRequests, request: Request, defaults: RequestDefaults) -> None:
    """Begin to answer as ever, and plan what the prompt asks for."""
    for word, call in re.findall(r'\((hang|freeze) (\d+)\)', request.query.prompt):
        _hang.plan(int(call), obeys=word == 'hang')
    if '(end)' in request.query.prompt:
        raise Panic('no way on')
    _begin(self, request, defaults)


if __name__ == '__main__':
    _hang.install(setattr)
    watchdog.GRACE = 0.5
    RunningRequests.begin = begin  # type: ignore[method-assign]
    sys.exit(main())
