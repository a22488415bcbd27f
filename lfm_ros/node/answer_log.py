# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Count answers and log errors, for operators."""
from __future__ import annotations

from collections.abc import Sequence
import time

from lfm_ros.conversation.mission_id import MAX_ID_LENGTH
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.answer import Answer
from rclpy.impl.rcutils_logger import RcutilsLogger

# Codes from here on are failures on our side or of our load; below, the caller must mend it.
_OURS = ErrorCode.QUEUE_FULL
_EXPECTED = (ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE)
_RECENT_SECONDS = 10.0
_NOTICE_SECONDS = 60.0  # between two notices about images, of which a camera sends many


class AnswerLog:
    """
    Counts answers; logs those that failed and observations that were lost, never what was said.

    :param logger: of the node.
    :ivar answered: answers since configure; ``failed``: those of them with an error.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        self.answered = 0
        self.failed = 0
        self.last_error = ''
        self.observations_lost = 0
        self._logger = logger
        self._worried_at = -_RECENT_SECONDS

    @property
    def recent_error(self) -> str:
        """The last error that an operator should see, if it is not long ago."""
        recent = time.monotonic() - self._worried_at < _RECENT_SECONDS
        return self.last_error if recent else ''

    def restart(self) -> None:
        """Count answers from 0."""
        self.answered = self.failed = 0

    def note(self, answer: Answer) -> None:
        """Take an answer into account."""
        self.answered += 1
        if not answer.error_code:
            return
        self.failed += 1
        code = ErrorCode(answer.error_code)
        if code < _OURS:  # the sentence may quote the request, and only its sender is to read it
            self._logger.info(f'a request was refused: {code.name} [{int(code)}]')
            self._logger.debug(answer.error_msg)
            return
        text = (f'{answer.finish_reason} [{int(code)}] in mission {_short(answer.mission_id)}: '
                f'{answer.error_msg}')
        if code not in _EXPECTED:
            self._worry(answer.error_msg)
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def note_images(self, images: Sequence[ImageSource]) -> None:
        """Log what was done to images so that they can be seen."""
        for notice in {image.notice for image in images if image.notice}:
            self._logger.info(f'{notice}: set image.mono16_range to show all alike',
                              throttle_duration_sec=_NOTICE_SECONDS)

    def note_lost(self, mission_id: str, error: BaseException) -> None:
        """Take an observation into account that no mission will remember."""
        self.observations_lost += 1
        if isinstance(error, LfmError) and error.code == ErrorCode.INVALID_MISSION_ID:
            text = 'an observation was lost: its mission_id is invalid'  # which may be anything
        else:
            text = f'an observation for mission {_short(mission_id)} was lost: {error}'
        self._worry(text)
        self._logger.warning(text, throttle_duration_sec=1.0)

    def _worry(self, text: str) -> None:
        self.last_error, self._worried_at = text, time.monotonic()


def _short(mission_id: str) -> str:
    """Return an id from outside so that it cannot break the lines of a log."""
    return repr(mission_id[:MAX_ID_LENGTH])
