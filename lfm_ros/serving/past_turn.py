# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turns that were held elsewhere, and the missions that begin with them."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfm_ros.conversation.entry import Entry
from lfm_ros.conversation.entry import RESULTS
from lfm_ros.conversation.entry import to_prompt
from lfm_ros.conversation.entry import TURN
from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.decoding.generation import STOP
from lfm_ros.engine.decoding.generation import TOOL_CALLS
from lfm_ros.engine.model import Model
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.engine.text.tools import check_tools
from lfm_ros.engine.text.tools import from_json
from lfm_ros.engine.text.tools import to_json
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import ToolCall
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.query import check_images

if TYPE_CHECKING:
    from lfm_ros.serving.mission_store import MissionStore

MAX_TURNS = 4096  # at once


@dataclass(frozen=True)
class PastTurn:
    """
    A question and the answer that something else gave, or this model in another mission.

    :param calls: of functions, behind the text of the answer.
    :param results: of the functions that the answer before called; then the prompt may be empty.
    """

    prompt: str
    answer: str = ''
    images: tuple[ImageSource, ...] = ()
    results: tuple[ToolResult, ...] = ()
    calls: tuple[ToolCall, ...] = ()


def add_turns(store: MissionStore, mission_id: str, turns: Sequence[PastTurn] = (),
              system_prompt: str = '', tools: Sequence[Tool] = ()) -> None:
    """
    Add turns to a mission; the model reads them before the next answer.

    :param system_prompt: of a new mission; empty: that of all missions. ``tools`` likewise.
    :raises LfmError: MISSION_EXISTS when it has another system prompt or other tools; when a turn
        cannot be added; nothing has changed then.
    """
    check_text(system_prompt, 'system prompt')
    check_tools(tools)
    if len(turns) > MAX_TURNS:
        raise LfmError(ErrorCode.INVALID_VALUE, f'there are {len(turns)} turns: send {MAX_TURNS} '
                       'at most')
    for turn in turns:
        check_text(turn.prompt, 'prompt')
        # A model may well write half of a character.
        check_text(turn.answer.replace('\ufffd', ''), 'answer')
        check_images(turn.images)
    known = mission_id in store
    prompt = system_prompt or store.system_prompt
    mission = store.get(mission_id).fork(mission_id) if known else \
        Mission.begun(mission_id, store.model, prompt, to_json(tools), store.retention.overflow)
    if known and (system_prompt, tools) != ('', ()) and \
            (prompt, to_json(tools)) != (mission.entries[0].prompt, mission.tools):
        raise LfmError(ErrorCode.MISSION_EXISTS, f"mission '{mission_id}' has another system "
                       'prompt or other tools: leave both empty, or choose another name')
    for turn in turns:
        mission.replay_turn(_entry(store.model, mission, turn))
    store.put(mission)


def _entry(model: Model, mission: Mission, turn: PastTurn) -> Entry:
    """Return a turn as a mission has it."""
    kind, prompt = (RESULTS, to_prompt(turn.results, turn.prompt)) if turn.results else \
        (TURN, turn.prompt)
    text = turn.answer
    if turn.calls:
        tool_format = model.tool_format
        if tool_format is None or not mission.tools:
            raise LfmError(ErrorCode.INVALID_TOOL, 'an answer calls functions and the mission has '
                           'none: send the tools, too')
        text += tool_format.write(turn.calls, from_json(mission.tools))
    images = tuple(model.require_vision().preprocess(image) for image in turn.images)
    return Entry(kind, 0, 0, prompt, text, TOOL_CALLS if turn.calls else STOP, images=images)
