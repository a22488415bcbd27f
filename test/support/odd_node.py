# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A node whose model obeys words in the prompt, for the tests.

- ``(slow 20)``: every call of the model takes 20 ms longer, and no answer ends by itself;
- ``(fail 3)``: the third call fails as ONNX Runtime does;
- ``(crash 3)``: it raises an exception that nobody expects;
- ``(late 3)``: it does so after its work is done.
"""
from __future__ import annotations

import re
import sys
import time
from typing import Any

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.runtime.runner import Runner
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.node.main import main
from lfm_ros.serving.query import Query
from lfm_ros.serving.turn import Turn

_plan: dict[str, int] = {}
_ends: list[int] = []
_begin, _run = Turn.__init__, Runner.run


def begin(self: Turn, mission: Mission, query: Query, *arguments: Any) -> None:
    """Begin a turn as ever, and note what its prompt asks for."""
    _plan.clear()
    _ends[:] = mission.model.end_ids
    _plan.update({word: int(n) for word, n in re.findall(r'\((\w+) (\d+)\)', query.prompt)})
    _begin(self, mission, query, *arguments)


def run(self: Runner, *arguments: Any, **options: Any) -> Any:
    """Call the model as ever, but for the plan."""
    time.sleep(_plan.get('slow', 0) / 1000)
    for word in ('fail', 'crash', 'late'):
        if word in _plan:
            _plan[word] -= 1
    if _plan.get('fail') == 0:
        raise LfmError(ErrorCode.MODEL_RUN_FAILED, 'the model failed while it ran: as told')
    if _plan.get('crash') == 0:
        raise ArithmeticError('as told')
    result = _run(self, *arguments, **options)
    if _plan.get('late') == 0:
        raise MemoryError('as told')
    if 'slow' in _plan:
        result[:, _ends] = -1e9
    return result


if __name__ == '__main__':
    Turn.__init__, Runner.run = begin, run  # type: ignore[method-assign, assignment]
    sys.exit(main())
