# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Read observations while there is nothing to answer."""
from __future__ import annotations

import logging

from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.serving.mission_store import MissionStore

_log = logging.getLogger(__name__)


class ReadAhead:
    """Reads what missions have not read yet, one chunk or tile at a time."""

    def __init__(self, store: MissionStore) -> None:
        self._store = store
        self._cancel_token = CancelToken()
        self._unreadable: set[str] = set()  # until their next question

    def step(self) -> bool:
        """Read one chunk of an observation; return whether there was anything to read."""
        mission = self._store.next_pending(self._unreadable)
        if mission is None:
            return False
        if self._cancel_token.is_overdue:
            self._cancel_token = CancelToken()
        try:
            for _ in mission.prefetch(self._cancel_token):
                return True  # a tile takes as long as a chunk
            mission.prefill_next(self._cancel_token)
        except RunCancelled:
            return False
        except BaseException as error:  # the question that needs it will be answered with it
            _log.error('reading ahead failed: %s', str(error) or type(error).__name__)
            self._unreadable.add(mission.mission_id)
        return True

    def question_came(self, mission_id: str) -> None:
        """Try a mission again that could not be read."""
        self._unreadable.discard(mission_id)

    def stop(self) -> None:
        """End the run in progress; from any thread."""
        self._cancel_token.set()
