# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Open a model on the first of several execution providers that proves to run it."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
import gc
import logging

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import is_available
from lfm_ros.engine.runtime.ort_errors import DeviceLostError
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

_log = logging.getLogger(__name__)

# What another provider may do better; a file that is missing is missing for all of them.
OF_PROVIDER = {
    ErrorCode.PROVIDER_UNAVAILABLE, ErrorCode.OUT_OF_MEMORY, ErrorCode.MODEL_RUN_FAILED,
    ErrorCode.MODEL_DAMAGED, ErrorCode.MODEL_FOREIGN, ErrorCode.RUNTIME_TOO_OLD}


def open_on_best(open_model: Callable[[ModelOptions], Model], options: ModelOptions
                 ) -> tuple[Model, str]:
    """
    Open a model on the first of its providers that proves to run it, in the end on the CPU.

    Without ``options.fallback`` only the first one is tried.

    :param open_model: opens it with the options that it is given.
    :returns: the model, and one sentence why it does not run on the preferred provider; empty when
        it does.
    :raises LfmError: of the last provider that was tried, or one that no other would avoid.
    """
    wished = list(options.providers)
    usable = [provider for provider in wished if is_available(provider)]
    if not (options.fallback and usable) or wished == [CPU]:
        return open_model(options), ''
    reasons = [f'this build of ONNX Runtime has no {provider}'
               for provider in wished[:wished.index(usable[0])]]
    if CPU not in usable:
        usable.append(CPU)
    for place in range(len(usable)):
        # The options are those of the preferred provider.
        own = options.provider_options if usable[place] == wished[0] else {}
        found = _try(open_model, replace(options, providers=usable[place:], provider_options=own))
        if not isinstance(found, LfmError):
            return found, _say(usable[place], reasons)
        if place + 1 == len(usable) or found.code not in OF_PROVIDER:
            raise _with_reasons(found, reasons)
        reasons.append(found.message)
        gc.collect()  # the next one needs the memory of this one
    raise AssertionError('the last one is returned or raised')


def _try(open_model: Callable[[ModelOptions], Model], options: ModelOptions) -> Model | LfmError:
    """Open a model and prove that it runs, or return the error, without what it holds."""
    try:
        model = open_model(options)
        if options.providers[0] != CPU:
            model.warm_up()  # longer runs need more memory than those of opening
    except DeviceLostError as error:
        return LfmError(ErrorCode.PROVIDER_UNAVAILABLE, error.message)
    except LfmError as error:
        return LfmError(error.code, error.message)
    return model


def _say(provider: str, reasons: Sequence[str]) -> str:
    if not reasons:
        return ''
    notice = f'the model runs on {provider}, because {"; ".join(reasons)}'
    _log.warning(notice)
    return notice


def _with_reasons(error: LfmError, reasons: Sequence[str]) -> LfmError:
    others = [reason for reason in reasons if reason != error.message]
    before = f' (before: {"; ".join(others)})' if others else ''
    return LfmError(error.code, error.message + before)
