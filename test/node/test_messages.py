# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What comes from outside is quoted in errors and logs as text, short and on one line."""
import logging

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import MAX_MESSAGE_LENGTH
from lfm_ros.errors import MAX_QUOTE_LENGTH
from lfm_ros.errors import quote
from lfm_ros.plain_log import PlainFormatter
import pytest

ODD = '\x1b]0;title\x07\x1b[2J\u202etxt\u2028\x9b\ud800\r\n\t'


def test_an_error_shows_what_does_not_print_as_text():
    error = LfmError(ErrorCode.MODEL_DAMAGED, f'it is {ODD}: copy it')
    assert error.message.isprintable()
    assert error.message == str(error)
    assert error.message == \
        r'it is \x1b]0;title\x07\x1b[2J\u202etxt\u2028\x9b\ud800\r\n\t: copy it'


@pytest.mark.parametrize('letter', ['A', '\x1b', '\U000e0001'])
def test_a_long_error_keeps_its_beginning_and_its_advice(letter):
    error = LfmError(ErrorCode.MODEL_DAMAGED, 'the graph ' + letter * 3_000_000 + ': copy it')
    assert len(error.message) <= MAX_MESSAGE_LENGTH
    assert error.message.startswith('the graph ') and error.message.endswith(': copy it')


def test_an_ordinary_error_is_as_it_was_written():
    text = "der Ordner 'größer/模型 👍' has no model: set the path"
    assert LfmError(ErrorCode.MODEL_NOT_FOUND, text).message == text


def test_a_quotation_is_one_short_line():
    found = quote(ValueError(f'first\n  second {ODD}' + 'x' * 3_000_000))
    assert found.startswith('first second ') and found.isprintable()
    assert len(found) <= MAX_QUOTE_LENGTH


def test_a_log_line_shows_what_does_not_print_as_text():
    record = logging.LogRecord('lfm_ros', logging.INFO, '', 0, '%s is opened', (ODD,), None)
    line = PlainFormatter('lfm: %(message)s').format(record)
    assert line.isprintable() and line.startswith(r'lfm: \x1b]0;')


def test_the_traceback_of_a_log_keeps_its_lines_and_nothing_else_that_does_not_print():
    try:
        raise ValueError('\x1b[31m' + 'A' * 100_000)
    except ValueError as error:
        record = logging.LogRecord('lfm_ros', logging.ERROR, '', 0, 'failed', (),
                                   (ValueError, error, error.__traceback__))
    lines = PlainFormatter().format(record).splitlines()
    assert lines[0] == 'failed' and lines[1].startswith('Traceback')
    assert all(line.isprintable() and len(line) <= MAX_MESSAGE_LENGTH for line in lines)
