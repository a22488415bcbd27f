# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a body, in one sentence."""
from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from lfm_ros.errors import printable
from lfm_ros.http.errors import ApiError
from lfm_ros.http.requests import ChatRequest
from lfm_ros.http.requests import CompletionRequest
from starlette.exceptions import HTTPException

_KNOWN = sorted({*ChatRequest.model_fields, *CompletionRequest.model_fields})
_MAX_VALUE = 60


def explain(error: RequestValidationError) -> ApiError:
    """Return the error of a field that is wrong; of several types, that which fits best."""
    found: dict[str, Any] = max(error.errors(), key=lambda each: len(each['loc']))
    # Where a field may be of several types, each of them is named behind its own.
    path = [part for part, before in zip(found['loc'][1:], found['loc']) if part != before
            and (isinstance(part, int) or str(part).isidentifier())]
    field = ''.join(f'[{part}]' if isinstance(part, int) else f'.{part}' for part in path)[1:]
    if found['type'] == 'json_invalid':
        return ApiError(400, f'the body is not JSON ({found["ctx"]["error"]}): send a JSON object')
    if found['type'] == 'missing':
        return ApiError(400, f'{field or "the body"} is missing: send it', field or None)
    if found['type'] == 'extra_forbidden':
        near = get_close_matches(str(path[-1]), _KNOWN, 1)
        return ApiError(400, f'there is no field {field}: '
                        + (f'did you mean {near[0]}?' if near else 'leave it out'), field)
    given = printable(repr(found.get('input')), _MAX_VALUE)
    said = found['msg'][0].lower() + found['msg'][1:]
    return ApiError(400, f'{field or "the body"} is {given}: {said}', field or None)


def explain_status(request: Request, error: HTTPException) -> ApiError:
    """Return the error of a path or a method that is not served."""
    path = printable(request.url.path, _MAX_VALUE)
    if error.status_code == 404:
        return ApiError(404, f'there is nothing at {path}: use /v1/chat/completions, '
                        '/v1/completions, /v1/models or /health', None, 'not_found')
    if error.status_code == 405:
        allowed = (error.headers or {}).get('Allow', 'another method')
        return ApiError(405, f'{path} does not take {request.method}: use {allowed}', None,
                        'method_not_allowed')
    return ApiError(error.status_code, f'the body cannot be read ({error.detail}): send a JSON '
                    'object')
