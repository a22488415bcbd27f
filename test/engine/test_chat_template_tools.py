# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Chat templates as transformers runs them: with tools, with names, with the date of today."""
from datetime import datetime
from datetime import timedelta
from datetime import timezone
import json
import shutil

import jinja2
from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.files.folder import TOOL_TEMPLATE
from lfm_ros.engine.text.chat_template import ChatTemplate
from lfm_ros.engine.text.template_process import TemplateProcess
from lfm_ros.engine.text.tools import to_json
from lfm_ros.engine.text.tools import Tool
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import pytest
from support import MODELS
from support import open_model

TOOLS = to_json([Tool('go', 'Drive.', '{"properties": {"at": {"type": "integer"}}}'),
                 Tool('look')])
LFM2 = (MODELS / 'templates' / 'lfm2.jinja').read_text()
FRAMED = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
WHOLE = '{% for m in messages %}' + FRAMED + '{% endfor %}' \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
FOR_TOOLS = "{% if tools %}{{ '<|im_start|>system\\nMine: ' + (tools | tojson) }}" \
    "{{ '<|im_end|>\\n' }}{% endif %}" + WHOLE
# In the style of Llama 3.2: tools are told in the first question, and there is no token for calls.
IN_THE_QUESTION = '{% for m in messages %}{{ "<|start_header_id|>" + m.role ' \
    '+ "<|end_header_id|>\\n\\n" }}{% if tools and loop.first %}{% for t in tools %}' \
    '{{ t | tojson(indent=4) }}{% endfor %}{% endif %}{{ m.content + "<|eot_id|>" }}' \
    '{% endfor %}{% if add_generation_prompt %}' \
    '{{ "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{% endif %}'


def make(source, tool_source=''):
    return ChatTemplate(source, {'bos_token': '<|startoftext|>'}, open_model().tokenizer,
                        tool_source)


def told(template, tools='', system=''):
    return open_model().tokenizer.decode_all(template.preamble(system, tools))


def opened(folder):
    return ChatTemplate.open(find_model(folder), open_model().tokenizer)


@pytest.fixture
def folder(tmp_path):
    """Give a copy of a model without a file of its template."""
    shutil.copytree(MODELS / 'lfm2', tmp_path / 'm')
    (tmp_path / 'm' / 'chat_template.jinja').unlink()
    return tmp_path / 'm'


def set_templates(folder, templates):
    path = folder / 'tokenizer_config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'chat_template': templates}))


# Options of tojson

@pytest.mark.parametrize('options', [
    {}, {'sort_keys': True}, {'separators': (',', ':')}, {'ensure_ascii': True}, {'indent': 2},
    {'ensure_ascii': False, 'indent': 4, 'separators': (', ', ' = '), 'sort_keys': True}])
def test_tojson_has_the_options_of_transformers(options):
    value = {'b': 'é<', 'a': [1, {'d': None, 'c': True}]}
    given = ', '.join(f'{key}={value!r}' for key, value in options.items())
    text = TemplateProcess().render(f'{{{{ value | tojson({given}) }}}}', {'value': value})
    assert text == json.dumps(value, **{'ensure_ascii': False, **options})


def test_an_option_of_tojson_that_transformers_does_not_have_is_an_error():
    with pytest.raises(LfmError, match='sort'):
        make('{{ {} | tojson(sort=True) }}' + WHOLE)


# Several templates

@pytest.mark.parametrize('form', ['a list', 'names'])
def test_the_template_for_tools_beside_the_default_is_used_with_tools(folder, form):
    templates = {'default': WHOLE, 'tool_use': FOR_TOOLS}
    set_templates(folder, templates if form == 'names' else [
        {'name': name, 'template': template} for name, template in templates.items()])
    template = opened(folder)
    assert told(template) == '' and told(template, TOOLS).startswith('<|im_start|>system\nMine: [')
    assert told(template, system='Hello.') == '<|im_start|>system\nHello.<|im_end|>\n'
    assert template.tool_markup == make(FOR_TOOLS).tool_markup


def test_the_template_for_tools_in_a_file_of_its_own_is_used_with_tools(folder):
    (folder / 'chat_template.jinja').write_text(WHOLE)
    before = find_model(folder).fingerprint
    (folder / TOOL_TEMPLATE).parent.mkdir()
    (folder / TOOL_TEMPLATE).write_text('\ufeff' + FOR_TOOLS)
    template = opened(folder)
    assert told(template) == '' and told(template, TOOLS).startswith('<|im_start|>system\nMine: [')
    assert find_model(folder).fingerprint != before


def test_a_template_for_tools_that_fails_leaves_the_model_usable_without(folder):
    set_templates(folder, {'default': WHOLE, 'tool_use': '{% broken'})
    template = opened(folder)
    assert template.preamble('Hello.')
    with pytest.raises(LfmError) as raised:
        template.preamble('', TOOLS)
    assert raised.value.code == ErrorCode.TEMPLATE_INVALID


def test_a_template_for_tools_that_frames_turns_otherwise_is_refused():
    other = FOR_TOOLS.replace('<|im_start|>assistant', '<|im_start|>model')
    with pytest.raises(LfmError, match='around questions and answers') as raised:
        make(WHOLE, other).preamble('', TOOLS)
    assert raised.value.code == ErrorCode.UNSUPPORTED


@pytest.mark.parametrize('system', ['', 'You are a robot.'])
def test_a_model_without_tokens_for_calls_says_so_whatever_its_template_does(system):
    model = open_model('llama')
    template = ChatTemplate(IN_THE_QUESTION, {}, model.tokenizer)
    with pytest.raises(LfmError, match='its tokenizer has no token for it') as raised:
        template.preamble(system, TOOLS)
    assert raised.value.code == ErrorCode.UNSUPPORTED


# What stands before and between

@pytest.mark.parametrize('place', ['a file', 'the settings'])
def test_a_byte_order_mark_before_a_template_is_no_text(folder, place):
    if place == 'a file':
        (folder / 'chat_template.jinja').write_text('\ufeff' + LFM2)
    else:
        set_templates(folder, '\ufeff' + LFM2)
    assert opened(folder).preamble('Hello.') == make(LFM2).preamble('Hello.')


def test_lines_of_a_template_may_end_as_on_windows():
    assert make(LFM2.replace('\n', '\r\n')).preamble('Hello.', TOOLS) == \
        make(LFM2).preamble('Hello.', TOOLS)


@pytest.mark.parametrize('system', ['You are a robot.', 'A line.\n', 'A blank ', 'List', 'é', '\n',
                                    'a\n\n', 'It costs 5', '. .'])
@pytest.mark.parametrize(('name', 'template', 'wrapped'), [
    ('lfm2', 'lfm2', False), ('lfm2-odd', 'lfm2.5', False), ('qwen3', 'qwen3', True)])
def test_a_system_prompt_before_tools_has_the_ids_of_plain_rendering(
        name, template, wrapped, system):
    model = open_model(name)
    source = (MODELS / 'templates' / f'{template}.jinja').read_text()
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters['tojson'] = lambda value: json.dumps(value, ensure_ascii=False)
    tools = json.loads(TOOLS)
    whole = environment.from_string(source).render(
        messages=[{'role': 'system', 'content': system}, {'role': 'user', 'content': 'Go.'}],
        tools=[{'type': 'function', 'function': tool} for tool in tools] if wrapped else tools,
        add_generation_prompt=True, **model.template._tokens)
    frame = model.template.markup
    assert [*model.template.preamble(system, TOOLS), *frame.user_prefix,
            *model.tokenizer.encode('Go.'), *frame.assistant_prefix] == \
        model.tokenizer.encode_control(whole)


def test_a_system_prompt_cannot_make_a_control_token_with_what_follows():
    source = "{{ '<|im_start|>system\\n' + messages[0].content + 'm_end|>' + '<|im_end|>\\n' }}" \
        '{% for m in messages[1:] %}' + FRAMED + '{% endfor %}' \
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    refused = "{% if messages[0].role != 'system' %}" + WHOLE + '{% else %}' + source + \
        '{% endif %}'
    template, tokenizer = make(refused), open_model().tokenizer
    controls = [[i for i in template.preamble(system) if i in tokenizer.control_ids]
                for system in ('<|i', '<|im_end|>', 'plain')]
    assert controls[0] == controls[1] == controls[2]


# The time

def test_the_time_is_that_of_the_zone_in_which_the_process_runs(monkeypatch):
    monkeypatch.setenv('TZ', 'XYZ-14')
    zone = timezone(timedelta(hours=14))
    before = f'{datetime.now(zone):%d %H}'
    text = TemplateProcess().render("{{ strftime_now('%d %H') }}", {})
    assert text in (before, f'{datetime.now(zone):%d %H}')


@pytest.mark.parametrize(('source', 'dated'), [
    (WHOLE, False), (LFM2, False), ("{{ strftime_now('%d') }}" + WHOLE, True)],
    ids=['plain', 'with tools', 'dated'])
def test_it_is_known_which_templates_ask_for_the_time(source, dated):
    assert make(source).dated == dated
