# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a request is told that was not answered, or not to its end."""
from __future__ import annotations

import logging

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

_log = logging.getLogger(__name__)


def not_active() -> LfmError:
    """Return the error of a request to a scheduler that was stopped."""
    return LfmError(ErrorCode.NOT_ACTIVE, 'the node is not active: configure and activate it '
                    'first')


def displaced() -> LfmError:
    """Return the error of a request that lost its place in the queue."""
    return LfmError(ErrorCode.DISPLACED, 'a newer request took the place of this one in the '
                    'queue: ask again if the answer is still wanted, or raise queue.size')


def cancelled() -> LfmError:
    """Return the error of a request that its caller gave up."""
    return LfmError(ErrorCode.CANCELLED,
                    'the request was cancelled; the mission is as it was before')


def stopped(begun: bool) -> LfmError:
    """Return the error of a request that a deactivation ended."""
    when = 'and the turn was undone' if begun else 'before this request began'
    return LfmError(ErrorCode.CANCELLED,
                    f'the node was deactivated {when}: activate it and ask again')


def too_late() -> LfmError:
    """Return the error of a request whose time was over while it was answered."""
    return LfmError(ErrorCode.TIMEOUT, 'the time was over before the answer was complete and the '
                    'turn was undone: allow more time or a shorter answer')


def too_late_in_queue(seconds: float) -> LfmError:
    """Return the error of a request whose time was over before the work on it began."""
    return LfmError(ErrorCode.TIMEOUT_IN_QUEUE, f'the time was over after {seconds:.1f} s in the '
                    'queue, before the work began: allow more time or ask less at once')


def too_late_for_image(seconds: float) -> LfmError:
    """Return the error of a request whose time was over before its image came."""
    return LfmError(ErrorCode.TIMEOUT_IN_QUEUE, f'the time was over after {seconds:.1f} s without '
                    'a camera frame: check the camera, or allow more time')


def too_late_for_format(seconds: float) -> LfmError:
    """Return the error of a request whose time was over before its grammar was compiled."""
    return LfmError(ErrorCode.TIMEOUT_IN_QUEUE, f'the time was over after {seconds:.1f} s, while '
                    'response_format or tools were compiled: simplify them, or allow more time')


def too_many_images() -> LfmError:
    """Return the error of a request whose images find no place beside those that wait."""
    return LfmError(ErrorCode.QUEUE_FULL, 'too many bytes of images wait already: ask again '
                    'later, or send compressed images')


def lost() -> LfmError:
    """Return the error of a request to a model that hangs and cannot be ended."""
    return LfmError(ErrorCode.MODEL_HUNG, 'a call of the model takes longer than '
                    'model.run_timeout and cannot be ended: start the process again, its '
                    'missions come back from missions.dir')


def ended(error: BaseException) -> LfmError:
    """Return the error of a request to a thread of the model that has ended."""
    return LfmError(ErrorCode.MODEL_HUNG, 'the thread that runs the model has ended '
                    f'({type(error).__name__}: {error}): start the process again, its missions '
                    'come back from missions.dir')


def as_error(error: BaseException) -> LfmError:
    """Return an error with a code: itself, or that of a failure that nothing foresaw."""
    if isinstance(error, LfmError):
        return error
    _log.error('a request failed', exc_info=error)
    return unexpected(error)


def unexpected(error: BaseException) -> LfmError:
    """Return the error of a turn that failed as nobody foresaw."""
    return LfmError(ErrorCode.INTERNAL, f'the turn failed and was undone '
                    f'({type(error).__name__}: {error}): please report this')
