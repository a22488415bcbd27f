# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers as values, and what is raised when there is none."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import json
import math
from typing import Any

from lfm_ros import msg
from rclpy.task import Future


class AnswerError(RuntimeError):
    """
    There is no answer, or only a part of one.

    :ivar code: as in ``msg/Response``; 0 when the answer was cut.
    :ivar message: one sentence: what is wrong and what to do.
    :ivar response: what came back.
    """

    def __init__(self, code: int, message: str, response: Any) -> None:
        super().__init__(f'[{code}] {message}' if code else message)
        self.code = code
        self.message = message
        self.response = response


@dataclass(frozen=True)
class Choice:
    """
    Which of some texts a model chose.

    :ivar probabilities: of each text among them, 0 to 1; together 1.
    """

    text: str
    probabilities: dict[str, float]

    @property
    def confidence(self) -> float:
        """Return the probability of what was chosen."""
        return self.probabilities[self.text]


def checked(response: Any) -> Any:
    """
    Return a response without an error.

    :raises AnswerError: for any other.
    """
    if response.error_code:
        raise AnswerError(response.error_code, response.error_msg, response)
    return response


def to_value(response: msg.Response) -> Any:
    """Return the value of an answer in JSON."""
    return json.loads(_whole(response).text)


def to_choice(response: msg.Response, choices: Sequence[str]) -> Choice:
    """Return the choice that an answer is."""
    text, most = _whole(response).text, max(response.choice_logprobs)
    weights = [math.exp(value - most) for value in response.choice_logprobs]
    return Choice(text, {c: w / sum(weights) for c, w in zip(choices, weights)})


def then(future: Future, convert: Callable[[msg.Response], Any]) -> Future:
    """Return a future of what becomes of the response that another one gives."""
    converted: Future = Future()

    def finish(done: Future) -> None:
        try:
            converted.set_result(convert(done.result().response))
        except Exception as error:
            converted.set_exception(error)

    future.add_done_callback(finish)
    return converted


def _whole(response: msg.Response) -> msg.Response:
    if checked(response).finish_reason != msg.Response.FINISH_STOP:
        raise AnswerError(0, f'the answer was cut after {response.usage.generated_tokens} tokens '
                          f'({response.finish_reason}): raise max_tokens, or reset the mission '
                          'when its context is full', response)
    return response
