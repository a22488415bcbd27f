# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rebuild a mission from its text, for another model."""
from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from lfm_ros.conversation.context_window import FORGET
from lfm_ros.conversation.entry import Entry
from lfm_ros.conversation.entry import HEAD
from lfm_ros.conversation.entry import OBSERVATION
from lfm_ros.conversation.entry import TURNS
from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.model import Model
from lfm_ros.errors import LfmError


def migrate(told: Transcript, empty_mission: Mission) -> Mission:
    """
    Return a mission in which the same was said, all of it to be read.

    Ids and states of one model mean nothing to another. What does not fit the context of the new
    one is forgotten, the oldest first.

    :param empty_mission: a mission of the new model, without turns.
    """
    model = empty_mission.model
    mission = empty_mission.fork(told.mission_id)
    head = told.entries[0] if told.entries else None
    if head and head.kind == HEAD and head.prompt != empty_mission.entries[0].prompt:
        with suppress(LfmError):  # else it keeps the head of this node
            ids = model.template.preamble(head.prompt)
            if len(ids) <= model.context_length // 2:
                mission = Mission(told.mission_id, model, ids, head.prompt)
    if head and head.text:
        with suppress(LfmError):  # a model that cannot call, it goes on without tools
            mission = mission.with_tools(head.text)
    mission.overflow = FORGET
    for entry in told.entries[1:]:
        with suppress(LfmError):  # a text that is longer than the context
            if entry.images and told.fingerprint != mission.fingerprint:
                entry = _shown_again(entry, model)
            if entry.kind == OBSERVATION:
                mission.observe(entry.prompt, entry.images)
            elif entry.kind in TURNS:
                mission.replay_turn(entry)
    mission.overflow = empty_mission.overflow
    return mission


def _shown_again(entry: Entry, model: Model) -> Entry:
    """Return an entry with its images as another model sees them; it is told of the others."""
    seen, lost = [], 0
    for image in entry.images:
        try:
            seen.append(model.require_vision().processor.prepare(image.pixels()))
        except LfmError:  # it reads text only, or refuses an image of this form
            lost += 1
    return replace(entry, prompt='(an image) ' * lost + entry.prompt, images=tuple(seen))
