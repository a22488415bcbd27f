# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The errors of requests that were not answered, or not to the end."""
from __future__ import annotations

import logging
import time

from lfm_ros.engine.runtime.ort_errors import DeviceLostError
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.request import Request

# Why a node stops, and what makes it answer again.
DEACTIVATED = ('deactivated', 'activate')
SHUT_DOWN = ('shut down', 'start')

_log = logging.getLogger(__name__)


def not_active() -> LfmError:
    """Return the error of a request to a scheduler that was stopped."""
    return LfmError(ErrorCode.NOT_ACTIVE, 'the node is not active: configure and activate it '
                    'first')


def displaced() -> LfmError:
    """Return the error of a request that lost its place in the queue."""
    return LfmError(ErrorCode.DISPLACED, 'a newer request took the place of this one in the '
                    'queue: ask again if you still need the answer, or raise queue.size')


def cancelled() -> LfmError:
    """Return the error of a request that its caller gave up."""
    return LfmError(ErrorCode.CANCELLED,
                    'the request was cancelled; the mission is as it was before')


def stopped(why: tuple[str, str], begun: bool) -> LfmError:
    """Return the error of a request that the end of a node, or its deactivation, ended."""
    when = 'and the turn was rolled back' if begun else 'before this request began'
    return LfmError(ErrorCode.CANCELLED,
                    f'the node was {why[0]} {when}: {why[1]} it and ask again')


def too_late() -> LfmError:
    """Return the error of a request whose time was over while it was answered."""
    return LfmError(ErrorCode.TIMEOUT, 'timed out before the answer was complete, and the turn '
                    'was rolled back: raise timeout or lower max_tokens')


def ended_in_queue(request: Request) -> LfmError:
    """Return the error of a request that was cancelled or ran out of time while it waited."""
    if request.cancelled:
        return cancelled()
    after = f'timed out after {time.monotonic() - request.arrived:.1f} s'
    if request.ready:
        reason = ' in the queue: raise timeout, or send fewer requests at once'
    elif request.compiling:
        reason = ' while compiling response_format or tools: simplify them, or raise timeout'
    else:
        reason = ' without a camera frame: check the camera, or raise timeout'
    return LfmError(ErrorCode.TIMEOUT_IN_QUEUE, after + reason)


def hung() -> LfmError:
    """Return the error of a request to a model that hangs and cannot be ended."""
    return LfmError(ErrorCode.MODEL_HUNG, 'a model run exceeded model.run_timeout and cannot be '
                    'terminated: restart the process, which restores its missions from '
                    'missions.dir')


def ended(error: BaseException) -> LfmError:
    """Return the error of a request to a thread of the model that has ended."""
    if isinstance(error, DeviceLostError):
        return error
    _log.critical('the model thread has ended', exc_info=error)
    return LfmError(ErrorCode.MODEL_HUNG, f'the model thread has ended ({type(error).__name__}: '
                    f'{error}): restart the process, which restores its missions from '
                    'missions.dir')


def as_error(error: BaseException) -> LfmError:
    """Return an error with a code: itself, or that of a failure that nothing foresaw."""
    if isinstance(error, LfmError):
        return error
    _log.error('a request failed', exc_info=error)
    return unexpected(error)


def unexpected(error: BaseException) -> LfmError:
    """Return the error of a turn that failed in an unforeseen way."""
    return LfmError(ErrorCode.INTERNAL, 'the turn failed and was rolled back '
                    f'({type(error).__name__}: {error}): please report this')
