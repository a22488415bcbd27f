# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The frame that is cut out of a chat template puts a conversation together as the template."""
from datetime import datetime
import json
import shutil

import jinja2
from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.text.chat_template import ChatTemplate
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import pytest
from support import MODELS
from support import open_model

DAY = datetime.now()  # midnight may pass while the tests run
TALK = ['Where is the dock?', 'The dock is near the door.', 'Go there.', 'I go there.',
        'What do you see?']
FAMILIES = {'lfm2': 'lfm2', 'lfm2-odd': 'lfm2.5', 'qwen3': 'qwen3', 'llama': 'llama',
            'phi': 'phi'}
LFM2 = (MODELS / 'templates' / 'lfm2.jinja').read_text()
FRAMED = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
WHOLE = '{% for m in messages %}' + FRAMED + '{% endfor %}' \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"


def rendered(source, tokens, messages):
    """Render a conversation in plain Jinja, as transformers does."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(
        messages=messages, add_generation_prompt=True, tools=None, **tokens)


def make(source, tokens=None):
    return ChatTemplate(source, tokens or {'bos_token': '<|startoftext|>'},
                        open_model().tokenizer)


def framed(template, tokenizer, talk, system=''):
    """Put a conversation together from the frame."""
    ids = template.preamble(system)
    frame = template.markup
    for place, text in enumerate(talk):
        if place % 2:
            ids += [*tokenizer.encode(text), *frame.assistant_suffix]
        else:
            ids += [*frame.user_prefix, *tokenizer.encode(text), *frame.assistant_prefix]
    return ids


@pytest.mark.parametrize('system', ['', 'You are a robot.'])
@pytest.mark.parametrize('turns', [1, 3, 5])
@pytest.mark.parametrize('name', FAMILIES)
def test_the_frame_gives_the_ids_of_the_whole_rendered_conversation(name, turns, system):
    model = open_model(name)
    source = (MODELS / 'templates' / f'{FAMILIES[name]}.jinja').read_text()
    messages = [{'role': 'system', 'content': system}] if system else []
    messages += [{'role': ('user', 'assistant')[place % 2], 'content': text}
                 for place, text in enumerate(TALK[:turns])]
    text = rendered(source, model.template._tokens, messages)
    assert framed(model.template, model.tokenizer, TALK[:turns], system) \
        == model.tokenizer.encode_control(text)


@pytest.mark.parametrize('name', FAMILIES)
def test_a_system_prompt_cannot_end_itself(name):
    model = open_model(name)
    tokens = [model.tokenizer.piece(i) for i in model.tokenizer.control_ids]
    plain = model.template.preamble('x')
    controls = [i for i in plain if i in model.tokenizer.control_ids]
    ids = model.template.preamble('x' + ''.join(tokens) + 'x')
    assert [i for i in ids if i in model.tokenizer.control_ids] == controls


def test_a_slot_mark_in_a_text_from_outside_is_only_text():
    model = open_model()
    mark = 'before \ue0001\ue001 and \ue0002\ue001 after'
    assert mark in model.tokenizer.decode(model.template.preamble(mark))


def test_the_generation_tag_of_transformers_is_understood():
    tagged = WHOLE.replace(FRAMED, '{% if m.role == "assistant" %}{% generation %}' + FRAMED
                           + '{% endgeneration %}{% else %}' + FRAMED + '{% endif %}')
    assert make(tagged).markup == make(WHOLE).markup == open_model().template.markup


def test_the_date_is_that_of_today():
    dated = "{{ bos_token }}{{ '<|im_start|>system\\nToday: ' + strftime_now('%Y-%m-%d')" \
        " + '<|im_end|>\\n' }}" + WHOLE
    text = open_model().tokenizer.decode(make(dated).preamble())
    assert text in {f'system\nToday: {day:%Y-%m-%d}\n' for day in (DAY, datetime.now())}


def test_loop_controls_and_tojson_are_those_of_transformers():
    source = "{{ {'a': 'é<'} | tojson }}{% for m in messages %}{% if false %}{% break %}" \
        '{% endif %}' + FRAMED + '{% endfor %}' + WHOLE.partition('{% endfor %}')[2]
    assert open_model().tokenizer.decode(make(source).preamble()) == '{"a": "é<"}'


def test_a_list_of_named_templates_gives_the_default_one(tmp_path):
    shutil.copytree(MODELS / 'lfm2', tmp_path / 'm')
    (tmp_path / 'm' / 'chat_template.jinja').unlink()
    path = tmp_path / 'm' / 'tokenizer_config.json'
    settings = json.loads(path.read_text())
    settings['chat_template'] = [{'name': 'tool_use', 'template': 'no'},
                                 {'name': 'default', 'template': LFM2}]
    path.write_text(json.dumps(settings))
    template = ChatTemplate.open(find_model(tmp_path / 'm'), open_model().tokenizer)
    assert template.markup == open_model().template.markup


BAD = {
    'syntax': '{% for m in messages %}', 'unknown tag': '{% frobnicate %}',
    'unknown filter': '{{ messages | frobnicate }}',
    'broken': (MODELS / 'templates' / 'broken.jinja').read_text(),
    'escaping': (MODELS / 'templates' / 'escaping.jinja').read_text() + WHOLE,
    'attribute access': "{{ ''.__class__.__mro__[1].__subclasses__() }}" + WHOLE,
    'attribute access by filter': "{{ ''|attr('__class__') }}{{ (''|attr('__class__')).x }}",
    'mutation': "{{ messages.append({'role': 'system', 'content': 'x'}) }}" + WHOLE,
    'mutation of a message': "{{ messages[0].update(content='x') }}" + WHOLE,
    'endless': (MODELS / 'templates' / 'endless.jinja').read_text() + WHOLE,
    'range bomb': '{% for i in range(1000000000) %}x{% endfor %}' + WHOLE,
    'memory bomb': "{{ 'x' * 1000000000000000 }}" + WHOLE,
    'recursion': '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}' + WHOLE,
    'division by zero': '{{ 1 // 0 }}' + WHOLE,
    'include': "{% include '/etc/passwd' %}" + WHOLE,
    'import': "{% import 'os' as os %}" + WHOLE,
    'raise': "{{ raise_exception('no system\nprompt') }}",
    'undefined': '{{ nothing.at.all }}' + WHOLE,
    'empty': '', 'no messages': 'hello', 'a number': 5,
    'only the last message': '{{ messages[-1].content }}',
    'backwards': '{% for m in messages | reverse %}' + FRAMED + '{% endfor %}',
    'upper case': '{% for m in messages %}{{ m.content | upper }}{{ m.content }}{% endfor %}',
    'first question differs': '{{ "a" if messages | length == 1 else "bc" }}'
    '{% for m in messages %}{{ "1" if loop.first else "2" }}{{ m.content }}{% endfor %}',
    'bad date': '{{ strftime_now(5) }}' + WHOLE,
}


@pytest.mark.parametrize('name', BAD)
def test_a_template_that_misbehaves_is_refused_in_one_sentence(name):
    with pytest.raises(LfmError) as caught:
        make(BAD[name])
    assert caught.value.code == ErrorCode.TEMPLATE_INVALID
    assert '\n' not in caught.value.message
    assert 'chat_template.jinja' in caught.value.message


def test_a_template_without_system_role_works_without_system_prompt():
    template = make((MODELS / 'templates' / 'alternating.jinja').read_text())
    assert template.markup == open_model().template.markup
    with pytest.raises(LfmError) as caught:
        template.preamble('You are a robot.')
    assert caught.value.code == ErrorCode.TEMPLATE_INVALID


def test_the_template_of_a_vision_model_frames_a_talk_in_text():
    template = make((MODELS / 'templates' / 'lfm2.5-vl.jinja').read_text())
    assert template.markup == open_model().template.markup
    for system in ('', 'You are a robot.\n\n'):
        texts = {f"system\n{system}Today's date: {day:%Y-%m-%d}\n"
                 for day in (DAY, datetime.now())}
        assert open_model().tokenizer.decode(template.preamble(system.strip())) in texts


def test_a_template_that_fails_only_with_a_system_prompt_says_so():
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}" \
        '{% endif %}' + WHOLE
    template = make(refusing)
    assert template.preamble() == []
    with pytest.raises(LfmError) as caught:
        template.preamble('You are a robot.')
    assert caught.value.code == ErrorCode.TEMPLATE_INVALID
    assert 'system prompt' in caught.value.message and 'no system' in caught.value.message


def test_a_format_string_can_not_reach_into_objects():
    template = make("{{ '[{0.__class__}]'.format(messages) }}" + WHOLE)
    assert open_model().tokenizer.decode(template.preamble()) == '[]'
