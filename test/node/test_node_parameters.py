# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters: described, checked, changed live, read from a file."""
from collections.abc import Iterator
from pathlib import Path
import re
import subprocess
from typing import Any

from lfm_ros import msg
from node_client import Client
from node_client import DEADLINE
from node_support import MODELS
from node_support import NodeProcess
from node_support import parameters
from node_support import running_node
import pytest
from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import DescribeParameters
from rcl_interfaces.srv import GetParameters
from rcl_interfaces.srv import ListParameters
from rcl_interfaces.srv import SetParameters
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.parameter import parameter_value_to_python

R = msg.Response
OURS = ('autostart', 'memory.', 'missions.', 'model.', 'queue.', 'sampling.')
PLAIN = msg.Sampling()  # nothing but what the node's parameters say


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


def plain(client: Client, **fields: Any) -> msg.Response:
    """Ask with nothing but the node's parameters."""
    return client.ask('tell me', aside=True, **{'sampling': PLAIN, **fields})


def test_every_parameter_has_a_description_and_numbers_have_a_range(client: Client) -> None:
    names = client.call(ListParameters, '~/list_parameters').result.names
    names = [n for n in names if n.startswith(OURS)]
    assert len(names) > 15
    found = client.call(DescribeParameters, '~/describe_parameters',
                        DescribeParameters.Request(names=names)).descriptors
    for name, descriptor in zip(names, found):
        assert len(descriptor.description) > 20, name
        if descriptor.type == Parameter.Type.INTEGER.value:
            assert len(descriptor.integer_range) == 1, name
        if descriptor.type == Parameter.Type.DOUBLE.value:
            assert len(descriptor.floating_point_range) == 1, name
        assert descriptor.read_only == (name == 'autostart')


def test_a_range_in_the_documentation_is_the_one_that_is_enforced() -> None:
    text = (Path(__file__).resolve().parents[2] / 'docs' / 'parameters.md').read_text()
    rows = re.findall(r'^\| `([^`]+)` \| [^|]* \| (-?[\d.]+) (?:to (-?[\d.]+)|or more)'
                      r'(, or negative)? \|', text, re.MULTILINE)
    assert len(rows) > 25
    with running_node(model='', autostart=False, state='unconfigured') as client:
        def set_(values: dict[str, float]) -> dict[str, bool]:
            results = client.set_parameters(
                **{name.replace('.', '__'): value for name, value in values.items()})
            return {name: r.successful for name, r in zip(values, results)}

        good: list[dict[str, float]] = [{}, {}, {}, {}]
        bad: list[dict[str, float]] = [{}, {}]
        for name, low_text, high_text, negative in rows:
            kind = float if '.' in low_text else int
            low, high = kind(low_text), kind(high_text or (1 << 62))
            step = (high - low) / 100 if kind is float else 1
            for values, value in zip(good, (low, low + step, high, -0.5 if negative else high)):
                values[name] = value
            bad[0][name] = low / 2 if negative else low - step
            if high_text:
                bad[1][name] = high + step
        for values in good:
            assert set(set_(values).values()) == {True}, values
        for values in bad:
            assert [name for name, done in set_(values).items() if done] == []


def test_sampling_changes_live(client: Client) -> None:
    changed = client.set_parameters(
        sampling__temperature=0.0, sampling__max_tokens=7, sampling__repetition_penalty=1.0)
    assert all(r.successful for r in changed)
    first = plain(client)
    assert first.usage.generated_tokens == 7 and first.finish_reason == R.FINISH_LENGTH
    assert plain(client).text == first.text
    client.set_parameters(sampling__temperature=5.0, sampling__min_p=0.0, sampling__seed=1,
                          sampling__max_tokens=30)
    seeded = [plain(client).text for _ in range(3)]
    assert len(set(seeded)) == 1 and not seeded[0].startswith(first.text)
    client.set_parameters(sampling__seed=2)
    assert plain(client).text != seeded[0]
    client.set_parameters(sampling__seed=-1)
    assert len({plain(client).text for _ in range(4)}) > 1
    # A request that says something itself is not touched by parameters.
    own = msg.Sampling(temperature=0.0)
    assert plain(client, sampling=own, max_tokens=7).text == first.text
    client.set_parameters(sampling__temperature=-1.0, sampling__max_tokens=256,
                          sampling__min_p=-1.0, sampling__repetition_penalty=-1.0)


@pytest.mark.parametrize('name, value', [
    ('sampling.temperature', 5.1), ('sampling.temperature', float('nan')),
    ('sampling.temperature', float('inf')), ('sampling.temperature', -1.5),
    ('sampling.temperature', 6), ('sampling.temperature', 'hot'), ('sampling.top_k', 0.5),
    ('sampling.top_p', 1.01), ('sampling.min_p', float('nan')), ('sampling.max_tokens', 0),
    ('sampling.max_tokens', 1 << 40), ('sampling.repetition_penalty', 0.05),
    ('sampling.repetition_penalty', 0.0), ('queue.timeout', -0.5),
    ('queue.timeout', float('nan')), ('queue.timeout', 1e9), ('queue.policy', 'newest'),
    ('queue.size', 4), ('model.path', '/tmp'), ('model.threads', 1),
    ('model.providers', ['OtherExecutionProvider']), ('missions.system_prompt', 'x'),
    ('autostart', False),
])
def test_what_cannot_be_set_is_refused_with_a_reason(
        client: Client, name: str, value: Any) -> None:
    before = client.call(DescribeParameters, '~/describe_parameters',
                         DescribeParameters.Request(names=[name])).descriptors
    result, = client.set_parameters(**{name: value})
    assert not result.successful
    assert len(result.reason) > 10
    assert before == client.call(DescribeParameters, '~/describe_parameters',
                                 DescribeParameters.Request(names=[name])).descriptors
    assert plain(client, max_tokens=2).error_code == R.NONE


def test_a_set_of_parameters_counts_whole_or_not_at_all(client: Client) -> None:
    changes = [Parameter('sampling.max_tokens', value=3).to_parameter_msg(),
               Parameter('sampling.top_p', value=7.0).to_parameter_msg()]
    result = client.call(SetParametersAtomically, '~/set_parameters_atomically',
                         SetParametersAtomically.Request(parameters=changes)).result
    assert not result.successful and result.reason
    assert plain(client, sampling=msg.Sampling(temperature=0.0)).usage.generated_tokens > 3


def test_parameters_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / 'parameters.yaml'
    file.write_text('/**:\n  ros__parameters:\n'
                    f'    model: {{path: "{MODELS / "lfm2"}", prefill_chunk: 3, threads: 1}}\n'
                    '    missions: {system_prompt: You are a robot.}\n'
                    '    sampling: {temperature: 0.0, max_tokens: 4}\n'
                    '    queue: {size: 2, policy: keep_last, timeout: 5.0}\n')
    with running_node('--params-file', str(file), model='') as client:
        response = plain(client)
        assert response.usage.generated_tokens == 4
        assert response.usage.cached_tokens > len('You are a robot.') / 4
        assert client.wait_status(lambda s: s.state == 'active').queue_size == 2


@pytest.mark.parametrize('values, word', [
    ({'queue__policy': 'newest'}, 'keep_last'),
    ({'queue__size': -1}, 'queue.size'),
    ({'queue__size': 'many'}, 'queue.size'),
    ({'sampling__temperature': 77.0}, 'sampling.temperature'),
    ({'sampling__temperature': '.nan'}, 'sampling.temperature'),
    ({'sampling__repetition_penalty': 0.01}, 'sampling.repetition_penalty'),
    ({'model__provider_options': '[device_id]'}, 'name=value'),
    ({'model__providers': '[]'}, 'model.providers is empty'),
    ({'model__providers': 'auto'}, 'STRING_ARRAY'),
    ({'queue__timeout': '[]'}, 'queue.timeout has no value'),
    ({'missions__never_expire': 5}, 'STRING_ARRAY'),
    ({'model__cores': '[]'}, 'model.cores has no value'),
    ({'queue__timeout': 1 << 40}, 'queue.timeout'),
    ({'image__mono16_range': '[0]'}, 'image.mono16_range'),
    ({'image__mono16_range': '[1023, 0]'}, '[1023, 0]'),
    ({'image__mono16_range': '[0, 70000]'}, '65535'),
    ({'image__mono16_range': '[0.0, 1.0]'}, 'image.mono16_range'),
])
def test_wrong_parameters_at_start_end_the_node_with_a_sentence(
        values: dict[str, Any], word: str) -> None:
    node = NodeProcess(*parameters(model__path=MODELS / 'lfm2', **values))
    try:
        code = node.process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        raise AssertionError(f'it was accepted:\n{node.log}') from None
    else:
        assert code == 2 and word in node.log and 'Traceback' not in node.log, node.log
    finally:
        node.close()


def test_a_value_that_is_set_already_may_be_set_again(client: Client) -> None:
    results = client.set_parameters(queue__size=8, queue__policy='reject',
                                    image__mono16_range=[0, 0])
    assert [r.successful for r in results] == [True, True, True]


def test_what_yaml_takes_for_another_type_is_taken_as_it_was_meant(tmp_path: Path) -> None:
    file = tmp_path / 'parameters.yaml'
    file.write_text('/lfm:\n  ros__parameters:\n'
                    f'    model: {{path: "{MODELS / "lfm2"}", cores: 0, provider_options: []}}\n'
                    '    missions: {never_expire: [], system_prompt: 7}\n'
                    '    image: {wait: 1, max_age: 0}\n'
                    '    queue: {timeout: 60}\n')
    with running_node('--params-file', str(file), model='') as client:
        expected = {'model.cores': '0', 'model.provider_options': [], 'missions.never_expire': [],
                    'missions.system_prompt': '7', 'image.wait': 1.0, 'image.max_age': 0.0,
                    'queue.timeout': 60.0}
        assert values(client, *expected) == expected
        assert all(r.successful for r in client.set_parameters(queue__timeout=30))
        assert values(client, 'queue.timeout') == {'queue.timeout': 30.0}


def values(client: Client, *names: str) -> dict[str, Any]:
    """Return the values of parameters."""
    found = client.call(GetParameters, '~/get_parameters',
                        GetParameters.Request(names=list(names))).values
    return {name: parameter_value_to_python(value) for name, value in zip(names, found)}


def test_a_list_may_be_emptied_and_filled_again() -> None:
    empty = [ParameterValue(), ParameterValue(type=Parameter.Type.BOOL_ARRAY.value)]
    with running_node(state='unconfigured', autostart=False) as client:
        for value in empty:
            for name, taken in (('missions.never_expire', True),
                                ('model.provider_options', True), ('model.providers', False),
                                ('queue.timeout', False), ('model.path', False)):
                change = ParameterMsg(name=name, value=value)
                result, = client.call(SetParameters, '~/set_parameters',
                                      SetParameters.Request(parameters=[change])).results
                assert result.successful == taken and bool(result.reason) != taken, name
            assert values(client, 'missions.never_expire') == {'missions.never_expire': []}
            filled, = client.set_parameters(missions__never_expire=['default'])
            assert filled.successful


def test_a_misspelt_parameter_is_named_with_the_one_that_is_meant() -> None:
    more = parameters(queue__timout=3, missions__keep='x', image_wait=1.0)
    with running_node(*more) as client:
        assert plain(client, max_tokens=1).error_code == R.NONE
        log = client.node_process.log
    for sentence in ("'queue.timout', it is ignored: do you mean queue.timeout?",
                     "'image_wait', it is ignored: do you mean image.wait?",
                     "'missions.keep', it is ignored"):
        assert sentence in log
    assert log.count('there is no parameter') == 3
