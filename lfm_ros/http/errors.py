# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors as OpenAI's interface has them, with the sentences of this package."""
from __future__ import annotations

from typing import Any

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

TOO_MANY = 429
_STATUS = {
    ErrorCode.UNKNOWN_MISSION: 404, ErrorCode.MISSION_EXISTS: 409,
    ErrorCode.QUEUE_FULL: TOO_MANY, ErrorCode.DISPLACED: TOO_MANY,
    ErrorCode.TIMEOUT_IN_QUEUE: 504, ErrorCode.TIMEOUT: 504, ErrorCode.CANCELLED: 499,
    ErrorCode.NOT_ACTIVE: 503, ErrorCode.TOO_MANY_MISSIONS: 503, ErrorCode.OVER_BUDGET: 503}
# What clients look for in OpenAI's own answers.
_NAMES = {ErrorCode.CONTEXT_FULL: 'context_length_exceeded',
          ErrorCode.PROMPT_TOO_LONG: 'context_length_exceeded',
          ErrorCode.QUEUE_FULL: 'rate_limit_exceeded'}
_NAME = {'type': ['string', 'null']}
_BODY = {'type': 'object', 'required': ['error'], 'properties': {'error': {
    'type': 'object', 'required': ['message', 'type', 'param', 'code'],
    'properties': {'message': {'type': 'string'}, 'type': {'type': 'string'}, 'param': _NAME,
                   'code': _NAME}}}}
# How the description of the interface names what is refused.
REFUSALS: dict[int | str, dict[str, Any]] = {
    name: {'description': text, 'content': {'application/json': {'schema': _BODY}}}
    for name, text in (('4XX', 'The request is refused.'), ('5XX', 'It could not be answered.'))}


class ApiError(Exception):
    """
    A request that is refused.

    :param status: of HTTP.
    :param param: the field that is wrong.
    :param code: that clients look at.
    """

    def __init__(self, status: int, message: str, param: str | None = None,
                 code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @classmethod
    def of(cls, error: LfmError) -> ApiError:
        """Return the error that says the same."""
        return of_code(error.code, error.message)

    def body(self) -> dict[str, Any]:
        """Return what is sent."""
        kind = 'rate_limit_error' if self.status == TOO_MANY else \
            'authentication_error' if self.status == 401 else \
            'invalid_request_error' if self.status < 499 else 'server_error'
        return {'error': {'message': self.message, 'type': kind, 'param': self.param,
                          'code': self.code}}


def of_code(code: int, message: str) -> ApiError:
    """Return the error of a code of this package."""
    known = ErrorCode(code)
    status = _STATUS.get(known, 400 if code < 200 else 500)
    return ApiError(status, message, None, _NAMES.get(known, known.name.lower()))
