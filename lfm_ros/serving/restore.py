# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bring an evicted or stored mission back into memory."""
from __future__ import annotations

import logging

from lfm_ros.conversation.migration import migrate
from lfm_ros.conversation.mission import Mission
from lfm_ros.serving.memory import MissionMemory
from lfm_ros.serving.mission_record import MissionRecord
from lfm_ros.storage.storage import Storage

_log = logging.getLogger(__name__)


def restore(record: MissionRecord, empty_mission: Mission, storage: Storage,
            memory: MissionMemory) -> Mission:
    """
    Restore a mission: its transcript, and as much of its state as is stored and still right.

    :param empty_mission: what a mission with no entry left begins as.
    :raises LfmError: OVER_BUDGET.
    """
    model = empty_mission.model
    found = record.unlogged_transcript or storage.read(record.mission_id)
    memory.reserve_new(empty_mission, len(found.ids), record.mission_id)
    if not found.entries:
        mission = empty_mission.fork(record.mission_id)
    elif found.fingerprint != model.folder.fingerprint or \
            len(found.ids) > model.context_length or \
            not 0 <= min(found.ids) <= max(found.ids) < model.vocabulary:
        mission = migrate(found, empty_mission)
        _log.warning("mission '%s' was recorded with another model or a longer context: "
                     'rebuilding it from text, %d of %d turns fit', record.mission_id,
                     mission.turn_count, found.turn_count)
    else:
        mission = Mission.of(found, model, empty_mission.overflow)
        # The system prompt in it, too: another processor or another version of ONNX Runtime may
        # have rounded in another way what the rest was computed on.
        storage.restore(mission)
        if not mission.state.position and mission.entries[0].digest == empty_mission.digest:
            mission.adopt_state(empty_mission)
    mission.before_cut = storage.flush
    record.mission, record.unlogged_transcript = mission, None
    record.note_size()
    record.unstored_turns = int(mission.pending > 0)
    return mission
