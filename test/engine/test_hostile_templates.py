# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A chat template that takes all time or memory is refused, and the process goes on."""
import os
import signal
import sys

from lfm_ros.engine.text import template_child
from lfm_ros.engine.text.template_process import RenderError
from lfm_ros.engine.text.template_process import TemplateProcess
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import rss_bytes
import pytest
from support import assert_one_line
from test_chat_template import make
from test_chat_template import WHOLE

DOUBLED = '{% set x = x ~ x %}'
GREEDY = {
    'a text times 10^10': "{{ 'a' * 10 ** 10 }}",
    'a text of 200 MB, three times': "{{ ('a' * 2 * 10 ** 8) * 3 }}",
    'center': "{{ 'a' | center(10 ** 9) }}",
    'ljust': "{{ 'a'.ljust(10 ** 10) }}",
    'a format': "{{ '%1000000000d' % 1 }}",
    'another format': "{{ '{:1000000000}'.format(1) }}",
    'doubled 40 times': '{% set x = "x" %}' + DOUBLED * 40 + '{{ x }}',
    'a namespace that doubles': "{% set n = namespace(x='a') %}{% for i in range(60) %}"
    '{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}',
    'replace': "{{ ('a' * 10 ** 6) | replace('', 'a' * 10 ** 6) }}",
    'batch': '{{ [1] | batch(10 ** 9, 0) | list }}',
    'a list times 10^10': '{{ [1] * 10 ** 10 }}',
}
SLOW = {
    'loops over letters': "{% for a in 'a' * 10000 %}{% for b in 'b' * 10000 %}"
    "{% for c in 'c' * 10000 %}{% endfor %}{% endfor %}{% endfor %}",
    'macros that call themselves twice': '{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}'
    '{% endif %}{% endmacro %}{{ m(60) }}',
    'a power': '{{ 10 ** (10 ** 9) }}',
    'lipsum': '{{ lipsum(n=10 ** 8) }}',
}
OTHERS = {
    'half a character': "{{ '\\ud800' }}" + WHOLE,
    'a text of 5 million letters': "{{ 'a' * 5000000 }}" + WHOLE,
    'brackets in brackets': '{{ ' + '(' * 20_000 + '1' + ')' * 20_000 + ' }}' + WHOLE,
    'lists in lists': '{{ ' + '[' * 5000 + ']' * 5000 + ' }}' + WHOLE,
    'a template of 2 MB': '{# ' + 'a' * 2_000_000 + ' #}' + WHOLE,
    'slots without end': WHOLE + "{{ '\ue0001\ue001' * 100000 }}",
}


def refused(source):
    with pytest.raises(LfmError) as caught:
        make(source)
    assert caught.value.code == ErrorCode.TEMPLATE_INVALID
    assert_one_line(caught.value.message, 'chat_template.jinja')
    assert caught.value.message.isprintable() and len(caught.value.message) < 500
    return caught.value.message


@pytest.mark.parametrize('name', GREEDY)
def test_a_template_that_takes_all_memory_is_refused_and_takes_none_of_ours(name):
    before = rss_bytes()
    assert 'memory' in refused(GREEDY[name] + WHOLE)
    assert rss_bytes() - before < 64 << 20


@pytest.mark.parametrize('name', SLOW)
def test_a_template_that_takes_all_time_is_ended(name):
    with pytest.raises(RenderError, match='time or memory'):
        TemplateProcess(seconds=3.0).render(SLOW[name], {})


@pytest.mark.parametrize('name', OTHERS)
def test_a_template_of_unheard_of_size_is_refused(name):
    refused(OTHERS[name])


def test_what_a_template_raises_is_shown_short_and_on_one_line():
    message = refused("{{ raise_exception('\x1b[31mred\u202e\x07\nline' + 'A' * 3000000) }}")
    assert r'\x1b[31mred\u202e\x07 line' in message and 'published with the model' in message


def test_after_a_hostile_template_a_good_one_is_rendered():
    process = TemplateProcess(seconds=3.0)
    for source in (SLOW['loops over letters'], GREEDY['center'], '{{ nothing.at.all }}'):
        with pytest.raises(RenderError):
            process.render(source, {})
        assert process.render('{{ x }}', {'x': 'good'}) == 'good'


def test_a_process_that_was_killed_is_started_again():
    process = TemplateProcess()
    assert process.render('{{ 1 }}', {}) == '1'
    os.kill(process._process.pid, signal.SIGKILL)
    process._process.wait()
    assert process.render('{{ 2 }}', {}) == '2'


def test_a_large_process_keeps_the_one_in_which_it_renders():
    process, large = TemplateProcess(), bytearray(os.urandom(1)) * (200 << 20)
    assert process.render('{{ 1 }}', {}) == '1' and large
    first = process._process.pid
    assert process.render('{{ 2 }}', {}) == '2'
    assert process._process.pid == first


def test_a_process_that_ends_when_it_was_idle_is_started_again():
    process = TemplateProcess()
    assert process.render('{{ 1 }}', {}) == '1'
    process._process.stdin.close()  # as its own end does, when nothing came
    process._process.wait()
    assert process.render('{{ 2 }}', {}) == '2'


def test_where_no_process_can_be_started_the_error_says_so(monkeypatch):
    monkeypatch.setattr(sys, 'executable', '/nowhere/python')
    with pytest.raises(LfmError) as caught:
        TemplateProcess().render('{{ 1 }}', {})
    assert caught.value.code == ErrorCode.OUT_OF_MEMORY
    assert_one_line(caught.value.message, 'cannot be started')


def test_a_text_with_any_character_comes_back_as_it_was_sent():
    text = ''.join(map(chr, [*range(0xd800), *range(0xe000, 0x11000), 0x10ffff])) * 2
    assert TemplateProcess().render('{{ x }}', {'x': text}) == text
    assert len(text) < template_child.MAX_TEXT
