# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every bad request gets its error code and one sentence, and harms nobody else."""
from collections.abc import Callable
from collections.abc import Iterator

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.errors import ErrorCode
from node_client import Client
from node_client import Inbox
from node_client import query
from node_support import running_node
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import String

R = msg.Response
ResponseFormat = msg.ResponseFormat
NAN, INF = float('nan'), float('inf')


def sampled(**fields: float) -> msg.Query:
    """Return a question with these sampling fields."""
    return msg.Query(prompt='hello', sampling=msg.Sampling(**fields))


BAD = {
    'empty prompt': (query(''), R.EMPTY_PROMPT, 'send a question'),
    'blank prompt': (query(' \n\t'), R.EMPTY_PROMPT, 'send a question'),
    'longer than the context': (query('go on ' * 400), R.PROMPT_TOO_LONG, '512'),
    'longer than any context': (query('x' * 1_100_000), R.PROMPT_TOO_LONG, '1048576'),
    'replaced bytes': (query('caf\ufffd'), R.INVALID_TEXT, 'UTF-8'),
    'replaced bytes in a stop text': (query('a', stop=['\ufffd']), R.INVALID_TEXT, 'stop text'),
    'temperature nan': (sampled(temperature=NAN), R.INVALID_SAMPLING, 'temperature'),
    'temperature inf': (sampled(temperature=INF), R.INVALID_SAMPLING, 'temperature'),
    'temperature absurd': (sampled(temperature=99.0), R.INVALID_SAMPLING, 'temperature'),
    'top_p nan': (sampled(top_p=NAN), R.INVALID_SAMPLING, 'top_p'),
    'top_p above 1': (sampled(top_p=1.5), R.INVALID_SAMPLING, 'top_p'),
    'min_p above 1': (sampled(min_p=2.0), R.INVALID_SAMPLING, 'min_p'),
    'top_k absurd': (sampled(top_k=2_000_000_000), R.INVALID_SAMPLING, 'top_k'),
    'penalty 0': (sampled(repetition_penalty=0.0), R.INVALID_SAMPLING, 'repetition_penalty'),
    'penalty inf': (sampled(repetition_penalty=INF), R.INVALID_SAMPLING, 'repetition_penalty'),
    'max_tokens negative': (query('a', max_tokens=-1), R.INVALID_VALUE, 'max_tokens'),
    'max_tokens absurd': (query('a', max_tokens=2_000_000_000), R.INVALID_VALUE, 'max_tokens'),
    'timeout nan': (query('a', timeout=NAN), R.INVALID_VALUE, 'timeout'),
    'timeout inf': (query('a', timeout=INF), R.INVALID_VALUE, 'timeout'),
    'timeout negative': (query('a', timeout=-1.0), R.INVALID_VALUE, 'timeout'),
    'timeout absurd': (query('a', timeout=1e300), R.INVALID_VALUE, 'timeout'),
    'many stop texts': (query('a', stop=['x'] * 17), R.INVALID_VALUE, '16'),
    'image': (query('a', images=[Image()]), R.NO_VISION, 'text only'),
    'compressed image': (query('a', compressed_images=[CompressedImage()]), R.NO_VISION, 'text'),
    'camera': (query('a', use_camera=True), R.NO_VISION, 'use_camera'),
    'schema that is no JSON': (query('a', response_format=ResponseFormat(json_schema='{')),
                               R.INVALID_FORMAT, 'not JSON'),
    'schema that cannot be': (
        query('a', response_format=ResponseFormat(json_schema='{"type": "x"}')),
        R.INVALID_FORMAT, 'Invalid type'),
    'regular expression': (query('a', response_format=ResponseFormat(regex='(')), R.INVALID_FORMAT,
                           'unclosed group'),
    'grammar': (query('a', response_format=ResponseFormat(grammar='x')), R.INVALID_FORMAT,
                'grammar'),
    'two formats': (query('a', response_format=ResponseFormat(regex='a', choices=['a'])),
                    R.INVALID_FORMAT, 'set one'),
    'many choices': (
        query('a', response_format=ResponseFormat(choices=list(map(str, range(257))))),
        R.INVALID_FORMAT, '256'),
    'format and stop': (query('a', response_format=ResponseFormat(regex='a'), stop=['b']),
                        R.INVALID_FORMAT, 'stop'),
    'tool without a name': (query('a', tools=[msg.Tool()]), R.INVALID_TOOL, 'not a tool name'),
    'tool of no schema': (query('a', tools=[msg.Tool(name='a', parameters='[')]),
                          R.INVALID_TOOL, 'not a JSON schema'),
    'many tools': (query('a', tools=[msg.Tool(name=f't{i}') for i in range(65)]),
                   R.INVALID_TOOL, '64'),
    'choice of no tool': (query('a', tool_choice='fly'), R.INVALID_TOOL, 'fly'),
    'result of no call': (query('', tool_results=[msg.ToolResult(name='a', content='b')]),
                          R.INVALID_TOOL, 'called no tool'),
    'suffix without raw': (query('a', suffix='b'), R.INVALID_VALUE, 'raw'),
    'nothing to continue': (query('', raw=True), R.EMPTY_PROMPT, 'continue'),
    'mission with a path': (query('a', mission_id='../../etc'), R.INVALID_MISSION_ID, 'etc'),
    'mission with a slash': (query('a', mission_id='a/b'), R.INVALID_MISSION_ID, 'a/b'),
    'mission with a dot': (query('a', mission_id='.hidden'), R.INVALID_MISSION_ID, 'hidden'),
    'mission of spaces': (query('a', mission_id='  '), R.INVALID_MISSION_ID, 'letters'),
    'mission with a newline': (query('a', mission_id='a\nb'), R.INVALID_MISSION_ID, 'letters'),
    'mission too long': (query('a', mission_id='m' * 129), R.INVALID_MISSION_ID, '128'),
    'mission of bad bytes': (query('a', mission_id='m\ufffd'), R.INVALID_MISSION_ID, 'letters'),
}

Ask = Callable[[Client, msg.Query], msg.Response]


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


@pytest.fixture(scope='module')
def responses(client: Client) -> Inbox:
    """Give what comes on ~/response."""
    return client.subscribe(msg.Response, '~/response')


@pytest.fixture(scope='module')
def asked(client: Client) -> object:
    """Give a publisher of ~/query."""
    return client.publisher(msg.Query, '~/query')


@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('way', ['service', 'action', 'topic'])
def test_bad_requests_are_refused_with_a_reason(
        client: Client, responses: Inbox, asked: object, way: str, bad: str) -> None:
    message, code, word = BAD[bad]
    message.request_id = f'{way}: {bad}'
    before = client.missions()
    if way == 'service':
        response = client.ask_query(message)
    elif way == 'action':
        goal = client.generate_query(message)
        status, response = goal.end()
        assert status == GoalStatus.STATUS_ABORTED
        assert not goal.deltas.messages
    else:
        asked.publish(message)
        response = responses.wait(lambda r: r.request_id == message.request_id)[0]
    assert response.request_id == message.request_id
    assert (ErrorCode(response.error_code).name, response.text, response.finish_reason) == (
        ErrorCode(code).name, '', R.FINISH_ERROR)
    assert word in response.error_msg and '\n' not in response.error_msg
    assert len(response.error_msg) < 500
    good = client.ask('hello', max_tokens=2, aside=True)
    assert good.error_code == R.NONE and good.usage.generated_tokens > 0
    after = client.missions()
    assert {n: m.turns for n, m in before.items()}.items() <= {
        n: m.turns for n, m in after.items()}.items()


def test_an_endless_request_id_is_refused(client: Client) -> None:
    response = client.ask('a', request_id='r' * 129)
    assert response.error_code == R.INVALID_VALUE and '128' in response.error_msg


def test_raw_bytes_that_are_not_utf8_are_refused(
        client: Client, responses: Inbox, asked: object) -> None:
    data = serialize_message(query('QQQQ', request_id='raw bytes'))
    for bytes_ in (b'\xff\xfe\x80\xc3', b'\xed\xa0\x80Q', b'QQQ\xe2'):
        count = len(responses.messages)
        asked.publish(data.replace(b'QQQQ', bytes_))
        response = responses.wait(lambda r: r.request_id == 'raw bytes', start=count)[0]
        assert response.error_code == R.INVALID_TEXT
    data = serialize_message(query('hello', request_id='QQQQ', max_tokens=1))
    count = len(responses.messages)
    asked.publish(data.replace(b'QQQQ', b'\xff\xff\xff\xff'))  # comes back as it was read
    assert responses.wait(start=count)[0].error_code == R.NONE
    prompts = client.publisher(String, '~/prompt')
    count = len(responses.messages)
    prompts.publish(serialize_message(String(data='QQQQ')).replace(b'QQQQ', b'\xff\xff\xff\xff'))
    assert responses.wait(start=count)[0].error_code == R.INVALID_TEXT


def test_what_is_no_message_at_all_harms_nobody(client: Client, asked: object) -> None:
    asked.publish(b'\x00\x01\x00\x00 this is no query')
    asked.publish(serialize_message(query('cut off'))[:-40])
    assert client.ask('hello', max_tokens=1, aside=True).error_code == R.NONE


def test_a_full_mission_says_so_and_keeps_its_turns(client: Client) -> None:
    for turn in range(60):
        response = client.ask('fill it up, as far as it goes', mission_id='full', max_tokens=40)
        if response.finish_reason not in (R.FINISH_STOP, R.FINISH_LENGTH):
            break
    if response.finish_reason == R.FINISH_CONTEXT:
        assert response.error_code == R.NONE and response.text
        response = client.ask('fill it up, as far as it goes', mission_id='full')
        turn += 1
    assert response.error_code == R.CONTEXT_FULL and "'full'" in response.error_msg
    assert client.missions()['full'].turns == turn > 2


def test_bad_observations_are_counted_and_reported(client: Client) -> None:
    diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
    observe = client.publisher(msg.Observation, '~/observe')
    for bad in (msg.Observation(), msg.Observation(text='caf\ufffd'),
                msg.Observation(text='x', mission_id='a/b'),
                msg.Observation(text='go on ' * 400), msg.Observation(text='x' * 2_000_000),
                msg.Observation(text='x', images=[Image()])):
        observe.publish(bad)
    lost = diagnostics.wait(lambda m: '6' in (
        v.value for v in m.status[0].values if v.key == 'observations lost'))[0].status[0]
    assert lost.level == DiagnosticStatus.WARN and 'was lost' in lost.message
    assert client.ask('hello', max_tokens=1, aside=True).error_code == R.NONE


def test_services_name_the_unknown_mission(client: Client) -> None:
    for kind, name in ((srv.ResetMission, 'reset'), (srv.DeleteMission, 'delete')):
        reply = client.call(kind, f'~/missions/{name}', kind.Request(mission_id='nobody'))
        assert reply.error_code == R.UNKNOWN_MISSION and "'nobody'" in reply.error_msg
        reply = client.call(kind, f'~/missions/{name}', kind.Request(mission_id='../x'))
        assert reply.error_code == R.INVALID_MISSION_ID
    client.ask('hello', mission_id='somebody', max_tokens=1)
    assert client.fork('somebody', 'a/b').error_code == R.INVALID_MISSION_ID
    assert client.fork('somebody', '').error_code == R.INVALID_MISSION_ID
    assert client.fork('somebody', 'somebody').error_code == R.MISSION_EXISTS


def test_tokenize_refuses_what_it_cannot_do(client: Client) -> None:
    for text, code in (('x' * 70_000, R.INVALID_VALUE), ('caf\ufffd', R.INVALID_TEXT)):
        reply = client.call(srv.Tokenize, '~/tokenize', srv.Tokenize.Request(text=text))
        assert reply.error_code == code and reply.error_msg and not reply.tokens


def test_message_and_python_name_the_same_codes() -> None:
    constants = {n: getattr(R, n) for n in dir(type(R)) if n.isupper()}
    codes = {n: v for n, v in constants.items() if not n.startswith(('FINISH_', '_'))}
    assert codes == {c.name: int(c) for c in ErrorCode}
