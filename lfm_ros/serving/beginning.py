# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every new mission begins as."""
from __future__ import annotations

from collections.abc import Iterator

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.model import Model
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.storage import Storage


class Beginning:
    """
    The system prompt, read once for all missions as long as its text stays the same.

    :param overflow: of missions.
    :ivar mission: one without turns, of which new ones are copies.
    :raises LfmError: PROMPT_TOO_LONG, INVALID_TEXT, TEMPLATE_INVALID.
    """

    def __init__(self, model: Model, system_prompt: str, overflow: str, storage: Storage) -> None:
        check_text(system_prompt, 'system prompt')
        self._model = model
        self._system_prompt = system_prompt
        self._overflow = overflow
        self._storage = storage
        for _ in self.read(self._render()):
            pass

    @property
    def outdated(self) -> list[int]:
        """The ids with which a mission should begin by now; empty: they are those of before."""
        if not self._model.template.dated:
            return []
        ids = self._render()
        return [] if ids == self.mission.ids else ids

    def read(self, ids: list[int], cancel_token: CancelToken | None = None) -> Iterator[None]:
        """Begin all missions with these ids from now on; yields after every run of the model."""
        mission = Mission('', self._model, overflow=self._overflow)
        yield from mission.begin(ids, self._system_prompt, cancel_token)
        mission.before_cut = self._storage.flush
        self.mission = mission
        self._storage.save(mission)

    def _render(self) -> list[int]:
        model = self._model
        ids = model.template.preamble(self._system_prompt)
        if len(ids) > model.context_length // 2:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the system prompt has {len(ids)} tokens '
                           f'and the context has {model.context_length}: shorten it or raise '
                           'model.context_length')
        return ids
