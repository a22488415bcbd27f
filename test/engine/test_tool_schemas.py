# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tools and schemas as others write them: taken as they are meant, or refused by name."""
import json

from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.engine.text.call_schema import CallSchema
from lfm_ros.engine.text.python_names import in_python
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.tool_calls import parse_tool_calls
from lfm_ros.engine.text.tool_format import ToolCallParser
from lfm_ros.engine.text.tools import from_json
from lfm_ros.engine.text.tools import to_json
from lfm_ros.engine.text.tools import Tool
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import pytest
from support import compiled
from support import open_model
from support import write_at_random

WAYPOINT = {'type': 'object', 'properties': {'waypoint': {'type': 'integer'}},
            'required': ['waypoint']}
GO = {'name': 'go', 'description': 'Drive.', 'parameters': WAYPOINT}
STOP = {'type': 'object', 'properties': {'reason': {'type': 'string', 'maxLength': 3}},
        'required': ['reason'], 'additionalProperties': False}
DRIVE = {'type': 'object', 'properties': {'at': {'enum': [1, 2]}}, 'required': ['at'],
         'additionalProperties': False}


def with_parameters(schema, name='go'):
    return Tool(name, '', json.dumps(schema))


def with_parameter(schema):
    return with_parameters({'properties': {'x': schema}, 'required': ['x']})


def calls_of(tools, name='lfm2', count=12, choice='required'):
    """Return calls that a model makes at random under the grammar, as name and arguments."""
    model = open_model(name)
    grammar = compiled(model, GrammarSource.of_tools(model.tool_format, tools, choice))
    found = []
    for seed in range(count):
        likely = [*model.end_ids, model.tool_format.end, *map(model.tokenizer.id_of, ')}]"')]
        ids = write_at_random(model, grammar, seed, likely, 2, 400)
        reader = ToolCallParser(model.tokenizer.stream(), model.tool_format, tools)
        for token in ids:
            reader.push(token)
        found += [(call.name, json.loads(call.arguments)) for call in reader.tool_calls]
    assert found
    return found


def error_of(tools, name='lfm2', choice='auto'):
    """Return the error with which tools are refused."""
    model = open_model(name)
    with pytest.raises(LfmError) as raised:
        for tool in tools:
            tool.check()
        compiled(model, GrammarSource.of_tools(model.tool_format, tools, choice)).open()
    return raised.value


# Keywords that say nothing

@pytest.mark.parametrize('keyword', [
    'required', 'properties', 'type', 'enum', 'items', 'additionalProperties', 'minimum',
    'maximum', 'minLength', 'maxLength', 'pattern', 'format', 'anyOf', 'oneOf', 'allOf', '$ref',
    '$defs', 'description', 'title', 'minItems', 'prefixItems', 'not', 'if', 'patternProperties',
    'multipleOf', 'uniqueItems', 'contains', 'minProperties', 'propertyNames', 'exclusiveMinimum',
    'dependentRequired', 'unevaluatedProperties', 'deprecated', 'x-mine'])
def test_a_keyword_that_is_null_is_absent(keyword):
    tools = [with_parameters({keyword: None}), with_parameter({'type': 'integer', keyword: None})]
    for tool in tools:
        tool.check()
        assert to_json([tool]) == to_json([with_parameters({})]) or 'null' not in to_json([tool])
        assert calls_of([tool], count=1)
    text = json.dumps({'type': 'object', 'properties': {'x': {'type': 'integer', keyword: None}}})
    GrammarSource.of(ResponseFormat(json_schema=text))
    assert compiled(open_model(), GrammarSource.of(ResponseFormat(json_schema=text))).open()


@pytest.mark.parametrize('keyword', ['const', 'default'])
def test_null_stays_where_it_is_a_value(keyword):
    assert with_parameter({keyword: None}).schema['properties']['x'] == {keyword: None}


@pytest.mark.parametrize('parameters', ['', ' ', 'null', '{}', '{"properties": {"x": null}}',
                                        '\ufeff{}', '{"type": null, "properties": null}'])
def test_parameters_that_say_nothing_are_those_of_a_tool_without_or_with_any(parameters):
    tool = Tool('go', '', parameters)
    tool.check()
    wanted = {'x': {}} if 'x' in parameters else {}
    assert tool.schema == {'type': 'object', 'properties': wanted}


@pytest.mark.parametrize('malformed', [
    {'required': True}, {'required': 'x'}, {'enum': 5}, {'enum': []}, {'type': 5},
    {'type': 'STRING'}, {'items': 5}, {'minimum': 'a'}, {'minLength': -1}, {'anyOf': {}},
    {'pattern': '('}, {'$ref': 5}, {'$ref': '#/$defs/no'}, {'$ref': 'https://a.b/c.json'},
    {'properties': []}, {'type': 'integer', 'minimum': 5, 'maximum': 1}, {'not': {}},
    {'uniqueItems': True}, {'oneOf': [{'type': 'integer'}, {'type': 'number'}]}])
@pytest.mark.parametrize('model', ['lfm2', 'qwen3'])
def test_what_is_malformed_is_refused_with_the_names_of_tool_and_parameter(malformed, model):
    error = error_of([with_parameters({}, 'look'), with_parameter(malformed)], model)
    assert error.code == ErrorCode.INVALID_TOOL
    assert error.message.startswith('the parameter x of the tool go cannot be used (')
    assert 'coerce_one_of' not in error.message and 'option of a oneOf' in error.message \
        or 'oneOf' not in malformed


@pytest.mark.parametrize('parameters', [
    {'required': True}, {'required': ['x', 1]}, {'type': 'array'}, {'properties': 5},
    {'required': ['a b']}, {'$ref': '#/$defs/no'}, {'$ref': '#'}, {'additionalProperties': 5},
    {'waypoint': {'type': 'integer'}}, {'name': 'go', 'schema': WAYPOINT}, 'text', [], True, 5])
def test_parameters_that_are_malformed_as_a_whole_name_the_tool(parameters):
    error = error_of([with_parameters(parameters, 'fly')])
    assert error.code == ErrorCode.INVALID_TOOL and 'the tool fly' in error.message


# The shapes of other interfaces

@pytest.mark.parametrize('text', [
    [GO], {'tools': [GO]}, {'functions': [GO]}, {'tools': [GO], 'functions': None},
    {'tools': [GO], 'nextCursor': None},
    [{'type': 'function', 'function': GO}], [{'type': 'function', **GO, 'strict': True}],
    [{'type': 'function', 'function': {**GO, 'strict': True}, 'cache_control': {}}],
    [{'name': 'go', 'description': 'Drive.', 'inputSchema': WAYPOINT, 'outputSchema': {},
      'annotations': {'readOnlyHint': True}, 'title': 'Go', '_meta': {}}],
    [{'name': 'go', 'description': 'Drive.', 'input_schema': WAYPOINT, 'type': 'custom'}],
    [{**GO, 'parameters': json.dumps(WAYPOINT)}],
    [{**GO, 'parameters': {**WAYPOINT, 'enum': None}, 'inputSchema': None}]])
def test_a_list_of_tools_is_read_as_others_have_it(text):
    tools = from_json('\ufeff' * (len(str(text)) % 2) + json.dumps(text))
    assert to_json(tools) == to_json([Tool('go', 'Drive.', json.dumps(WAYPOINT))])
    assert all(call == ('go', {'waypoint': call[1]['waypoint']}) for call in calls_of(tools))


def test_a_description_that_is_null_is_empty():
    assert from_json('[{"name": "stop", "description": null}]') == [Tool('stop')]


@pytest.mark.parametrize(('text', 'reason'), [
    ([{'name': 'go', 'arguments': WAYPOINT}], "the tool go has 'arguments'"),
    ([{'name': 'go', 'args_schema': {}, 'paramters': {}}], "'args_schema', 'paramters'"),
    ([{'type': 'function', 'function': GO, 'inputSchema': WAYPOINT}], "'inputSchema'"),
    ([{**GO, 'inputSchema': WAYPOINT}], 'its parameters twice'),
    ([{'toolSpec': {'name': 'go'}}], 'a tool has no name'),
    ([{'type': 'web_search', 'name': 'web'}], "the type 'web_search'"),
    ([{**GO, 'type': {}}], 'the type {}'),
    ([{'name': 'go', 'description': 5}], 'the description of the tool go is no text'),
    ([{'name': None}], 'a tool has no name'), ([None], 'a tool has no name'),
    ([['go']], 'a tool has no name'), ('go', 'is no list'),
    ({'tools': GO}, 'is no list'), ({'model': 'x', 'tools': [GO]}, "'model'"),
    ({}, 'a tool has no name')])
def test_what_would_be_dropped_without_a_word_is_refused_by_name(text, reason):
    with pytest.raises(LfmError) as raised:
        from_json(json.dumps(text))
    assert raised.value.code == ErrorCode.INVALID_TOOL and reason in raised.value.message


@pytest.mark.parametrize('wrapped', [
    {'name': 'plan', 'strict': True, 'schema': DRIVE},
    {'name': 'plan', 'description': 'A plan.', 'schema': DRIVE},
    {'type': 'json_schema', 'json_schema': {'name': 'plan', 'schema': DRIVE}},
    {'type': 'json_schema', 'name': 'plan', 'schema': DRIVE, 'strict': True},
    {'json_schema': DRIVE}, {'schema': DRIVE}])
def test_a_schema_is_taken_out_of_what_other_interfaces_have_around_it(wrapped):
    sources = [GrammarSource.of(ResponseFormat(json_schema=json.dumps(schema)))
               for schema in (wrapped, DRIVE)]
    assert sources[0] == sources[1]


@pytest.mark.parametrize('text', [
    {'name': 'plan', 'strict': True}, {'waypoint': {'type': 'integer'}}, {'name': 'x',
                                                                          'description': 'y'},
    {'schema': 'text'}, {'guided_json': DRIVE}, {'response_schema': DRIVE}, {'Type': 'object'}])
def test_a_schema_that_holds_nothing_is_refused(text):
    with pytest.raises(LfmError, match='no keyword of JSON Schema') as raised:
        ResponseFormat(json_schema=json.dumps(text)).check()
    assert raised.value.code == ErrorCode.INVALID_FORMAT


@pytest.mark.parametrize('text', ['{}', 'true', '{"title": "Anything"}', '{"x-mine": 1}',
                                  '{"properties": {"schema": {"type": "integer"}}}',
                                  '{"type": "object", "schema": {}}'])
def test_a_schema_that_means_to_hold_nothing_is_taken_as_it_is(text):
    ResponseFormat(json_schema=text).check()
    assert GrammarSource.of(ResponseFormat(json_schema=text)).text == text


# Names

@pytest.mark.parametrize(('names', 'told'), [
    (['go-to'], ['go_to']), (['go-to', 'go_to'], ['go_to_2', 'go_to']),
    (['go-to', 'go.to', 'go/to'], ['go_to', 'go.to', 'go_to_2']),
    (['$filter', 'a:b', '2d', 'mcp.go-to', '-'], ['_filter', 'a_b', '_2d', 'mcp_go_to', '_']),
    (['look'], ['look'])])
def test_names_that_are_none_in_python_are_told_and_called_otherwise(names, told):
    model = open_model()
    tools = [with_parameters({'properties': {'way-point': {'type': 'integer', 'maximum': 9,
                                                           'minimum': 0},
                                             'way_point': {'$ref': '#/properties/way-point'}},
                              'required': ['way-point', 'way_point']}, name) for name in names]
    text = model.tokenizer.decode_all(model.template.preamble('', to_json(tools)))
    assert [f'"name": "{name}"' in text for name in told] == [True] * len(told)
    assert '"way_point_2": {"type": "integer"' in text and '#/properties/way_point_2' in text
    calls = calls_of(tools, count=20)
    assert {call[0] for call in calls} <= set(names)
    assert all(list(call[1]) == ['way-point', 'way_point'] for call in calls)
    for name in names:
        assert {call[0] for call in calls_of(tools, count=3, choice=name)} == {name}
    written = f'[{told[0]}(way_point_2=3, way_point=4)]'
    found, = model.tool_format.parse(written, tools)
    assert (found.name, json.loads(found.arguments)) == (
        names[0], {'way-point': 3, 'way_point': 4})


def test_where_calls_are_json_names_stay_as_they_are():
    model = open_model('qwen3')
    tools = [with_parameters({'properties': {'way-point': {'enum': [1]}},
                              'required': ['way-point']}, 'go-to.$x')]
    text = model.tokenizer.decode_all(model.template.preamble('', to_json(tools)))
    assert '"name": "go-to.$x"' in text and '"way-point"' in text
    assert set(map(str, calls_of(tools, 'qwen3'))) == {"('go-to.$x', {'way-point': 1})"}


# What schemas may say

@pytest.mark.parametrize('name', ['password', 'byte', 'binary', 'uri-reference', 'int32', 'float',
                                  'color', 'regex', 'json-pointer', 'idn-email', 'mine'])
@pytest.mark.parametrize('model', ['lfm2', 'qwen3'])
def test_a_format_that_is_not_known_is_an_annotation(name, model):
    tool = with_parameter({'type': 'string', 'format': name, 'maxLength': 2})
    assert all(len(call[1]['x']) <= 2 for call in calls_of([tool], model, 3))
    assert f'"format": "{name}"' in to_json([tool])
    text = json.dumps({'items': {'format': name}})
    assert compiled(open_model(), GrammarSource.of(ResponseFormat(json_schema=text))).open()


def test_a_format_that_is_known_is_kept():
    tool = with_parameter({'type': 'string', 'format': 'ipv4'})
    assert all(call[1]['x'].count('.') == 3 for call in calls_of([tool], count=5))


@pytest.mark.parametrize('model', ['lfm2', 'qwen3'])
@pytest.mark.parametrize('schema', [
    {'$ref': '#/$defs/Args', '$defs': {'Args': DRIVE}},
    {'$ref': '#/definitions/A', 'definitions': {'A': {'$ref': '#/definitions/B'}, 'B': DRIVE}},
    {'properties': {'at': {'enum': [1, 2]}}, 'required': ['at'], 'allOf': [{'required': ['at']}]},
    {'allOf': [{'$ref': '#/$defs/Args'}], '$defs': {'Args': DRIVE}},
    {'anyOf': [{'$ref': '#/$defs/Args'}], '$defs': {'Args': DRIVE}},
    {'oneOf': [{'$ref': '#/$defs/Args'}, {'$ref': '#/$defs/Args2'}],
     '$defs': {'Args': DRIVE, 'Args2': {'type': 'array'}}}])
def test_parameters_may_be_a_reference_or_put_together(schema, model):
    calls = calls_of([with_parameters(schema)], model)
    assert all(call[1]['at'] in (1, 2) and len(call[1]) == 1 for call in calls)


@pytest.mark.parametrize('model', ['lfm2', 'qwen3'])
def test_parameters_may_refer_to_each_other_and_to_all_of_them(model):
    tool = with_parameters({
        'properties': {'a': {'enum': [1, 2]}, 'b': {'$ref': '#/properties/a'},
                       'c': {'type': 'array', 'items': {'$ref': '#'}, 'maxItems': 0}},
        'required': ['a', 'b', 'c'], '$defs': {'arguments': {}}})
    assert all(call[1]['b'] in (1, 2) and call[1]['c'] == [] for call in calls_of([tool], model))


@pytest.mark.parametrize('model', ['lfm2', 'qwen3'])
def test_a_parameter_that_is_required_and_not_described_may_be_anything(model):
    tool = with_parameters({'required': ['x'], 'properties': {}})
    assert all(list(call[1]) == ['x'] for call in calls_of([tool], model, 5))


KIND = {'type': 'object', 'required': ['kind'], 'properties': {'kind': {'const': 'a'}}}
EXCLUSIVE = {
    'by what they require and forbid': [{'$ref': '#/$defs/Go'}, {'$ref': '#/$defs/Stop'}],
    'by the type': [{'$ref': '#/$defs/Go'}, {'type': 'integer'}],
    'by a const': [{'const': 'a'}, {'$ref': '#/$defs/B'}],
    'by a discriminator': [KIND, {'$ref': '#/$defs/Kind'}],
    'by a reference to a reference': [{'$ref': '#/$defs/Again'}, {'$ref': '#/$defs/Stop'}],
    'three': [{'$ref': '#/$defs/Go'}, {'$ref': '#/$defs/Stop'}, {'$ref': '#/$defs/B'}]}
DEFS = {'Go': DRIVE, 'Stop': STOP, 'B': {'type': 'string', 'enum': ['b', 'c']},
        'Again': {'$ref': '#/$defs/Go'}, 'Kind': {
            **KIND, 'properties': {'kind': {'enum': ['b']}}}, 'Any': {}, 'Loop': {
                '$ref': '#/$defs/Loop'}, 'Wide': {**DRIVE, 'additionalProperties': True}}


@pytest.mark.parametrize('how', EXCLUSIVE)
def test_options_of_a_one_of_that_exclude_each_other_may_be_references(how):
    schema = {'type': 'object', 'properties': {'x': {'oneOf': EXCLUSIVE[how]}}, 'required': ['x'],
              'additionalProperties': False, '$defs': DEFS}
    text = json.dumps(schema)
    assert compiled(open_model(), GrammarSource.of(ResponseFormat(json_schema=text))).open()
    assert calls_of([with_parameters(schema)], count=2)


@pytest.mark.parametrize('options', [
    [{'type': 'integer'}, {'type': 'number'}], [{'$ref': '#/$defs/Go'}, {'$ref': '#/$defs/Wide'}],
    [{'$ref': '#/$defs/Go'}, {'$ref': '#/$defs/Again'}],
    [{'$ref': '#/$defs/Any'}, {'type': 'null'}]])
def test_options_of_a_one_of_that_may_overlap_are_refused_with_advice(options):
    text = json.dumps({'oneOf': options, '$defs': DEFS})
    with pytest.raises(LfmError, match='use anyOf, or require in each') as raised:
        compiled(open_model(), GrammarSource.of(ResponseFormat(json_schema=text))).open()
    assert raised.value.code == ErrorCode.INVALID_FORMAT
    assert 'coerce_one_of' not in raised.value.message


# Calls as models write them

@pytest.mark.parametrize(('text', 'arguments'), [
    ('{"type": "function", "function": {"name": "go", "arguments": {"a": 1}}}', {'a': 1}),
    ('[{"id": "1", "type": "function", "function": {"name": "go", "arguments": "{\\"a\\": 1}"}}]',
     {'a': 1}),
    ('{"tool_calls": [{"type": "function", "function": {"name": "go"}}]}', {}),
    ('{"function": "go", "parameters": {"a": 1}}', {'a': 1}),
    ('{"name": "go", "input": {"a": 1}}', {'a': 1}), ('{"name": "go", "arguments": null}', {}),
    ('{"name": "go", "arguments": ""}', {}), ('{"name": "go", "arguments": "null"}', {}),
    ('{"name": "go", "arguments": " {} "}', {}), ('{"name": "go", "parameters": null}', {})])
def test_calls_are_read_as_models_write_them(text, arguments):
    call, = parse_tool_calls(text)
    assert (call.name, json.loads(call.arguments)) == ('go', arguments)


@pytest.mark.parametrize('text', [
    '{"function": {"arguments": {}}}', '{"function": 5}', '{"tool_calls": null}',
    '{"name": "go", "arguments": "' + '[' * 5000 + '"}', '{"name": "go", "arguments": "x"}',
    '{"name": "go", "arguments": []}', '{"name": "go", "arguments": 0}',
    '{"name": "go", "arguments": false}'])
def test_what_is_no_call_in_json_is_not_taken_for_one(text):
    with pytest.raises(ValueError, match=''):
        parse_tool_calls(text)


def test_parameters_that_are_named_elsewhere_in_a_schema_keep_their_names():
    text = {'type': 'string'}
    tool, = from_json(json.dumps([{'name': 'open', 'parameters': {
        'type': 'object', 'properties': {'file-path': text, 'url': text},
        'anyOf': [{'required': ['file-path']}, {'required': ['url']}]}}]))
    told, = in_python([tool])
    assert list(told.schema['properties']) == ['file-path', 'url']
    assert not CallSchema.of(told).is_python


def test_one_tool_may_stand_alone():
    alone = {'name': 'go', 'description': 'd', 'parameters': {}}
    assert from_json(json.dumps(alone)) == from_json(json.dumps([alone]))
    wrapped = {'type': 'function', 'function': alone}
    assert from_json(json.dumps(wrapped)) == from_json(json.dumps([alone]))
