# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle: up and down in every order, with good models and with bad ones."""
from collections.abc import Iterator
import os
from pathlib import Path
import shutil

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from lfm_ros import msg
from node_client import Client
from node_support import MODELS
from node_support import ODD_NODE
from node_support import running_node
import pytest

R = msg.Response


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node that waits to be configured."""
    with running_node(program=ODD_NODE, autostart=False, state='unconfigured') as client:
        yield client


def bring_to(client: Client, state: str) -> None:
    """Take the node to a state from wherever it is."""
    path = {'unconfigured': {'inactive': 'configure', 'active': 'configure'},
            'inactive': {'unconfigured': 'cleanup', 'active': 'activate'},
            'active': {'unconfigured': 'deactivate', 'inactive': 'deactivate'}}
    while (now := client.get_state()) != state:
        assert client.change_state(path[now][state])


def rss(client: Client) -> int:
    """Return the resident memory of the node in bytes."""
    fields = Path(f'/proc/{client.node_process.process.pid}/statm').read_text().split()
    return int(fields[1]) * os.sysconf('SC_PAGE_SIZE')


def test_each_state_is_reported_and_answers_come_only_when_active(client: Client) -> None:
    bring_to(client, 'unconfigured')
    assert client.ask('hello').error_code == R.NOT_ACTIVE
    assert client.change_state('configure')
    assert client.get_state() == 'inactive'
    client.wait_status(lambda s: s.state == 'inactive' and s.model == 'lfm2')
    refused = client.ask('hello')
    assert refused.error_code == R.NOT_ACTIVE and 'activate it first' in refused.error_msg
    assert client.change_state('activate')
    assert client.ask('hello', max_tokens=3).error_code == R.NONE
    assert not client.change_state('configure')
    assert not client.change_state('no such transition')
    assert client.ask('hello', max_tokens=3).error_code == R.NONE


def test_up_and_down_many_times_gives_the_memory_back(client: Client) -> None:
    bring_to(client, 'unconfigured')
    texts, sizes = set(), []
    for _ in range(10):
        bring_to(client, 'active')
        texts.add(client.ask('who are you', max_tokens=20).text)
        bring_to(client, 'unconfigured')
        assert client.missions() == {}
        sizes.append(rss(client))
    assert len(texts) == 1
    assert sizes[-1] < sizes[2] + 10_000_000, sizes
    print(sizes)


def test_deactivation_answers_what_runs_and_what_waits_and_keeps_missions(
        client: Client) -> None:
    bring_to(client, 'active')
    for mission in ('stays', 'twin'):
        client.ask('remember me', mission_id=mission, max_tokens=10)
    running = client.generate('(slow 20)', mission_id='stays', max_tokens=400)
    running.deltas.wait()
    waiting = [client.ask_later('hello', mission_id='stays') for _ in range(4)]
    client.wait_status(lambda s: s.queue_length == 4)
    assert client.change_state('deactivate')
    response = running.end()[1]
    assert (response.error_code, response.finish_reason) == (R.CANCELLED, R.FINISH_CANCELLED)
    assert 'deactivated' in response.error_msg and response.text
    assert response.error_msg.endswith(': activate it and ask again')
    for future in waiting:
        client.wait_until(future.done, 'answer')
        assert future.result().response.error_code == R.CANCELLED
    assert client.missions()['stays'].turns == 1
    assert client.ask('hello').error_code == R.NOT_ACTIVE
    assert client.change_state('activate')
    texts = {client.ask('and now', mission_id=m, max_tokens=20).text for m in ('stays', 'twin')}
    assert len(texts) == 1


def damaged(folder: Path, kind: str) -> Path:
    """Make a model folder that cannot be used."""
    shutil.copytree(MODELS / 'lfm2', folder)
    if kind == 'truncated graph':
        graph = (folder / 'model.onnx').read_bytes()
        (folder / 'model.onnx').write_bytes(graph[:len(graph) // 2])
    elif kind == 'no weights':
        (folder / 'model.onnx.data').unlink()
    elif kind == 'short weights':
        (folder / 'model.onnx.data').write_bytes(b'\0' * 1000)
    elif kind == 'no tokenizer':
        (folder / 'tokenizer.json').unlink()
    elif kind == 'broken template':
        (folder / 'chat_template.jinja').write_text('{% for %}')
    elif kind == 'config of the wrong type':
        (folder / 'config.json').write_text('[1, 2]')
    elif kind == 'no model at all':
        (folder / 'model.onnx').unlink()
    return folder


@pytest.mark.parametrize('kind', [
    'truncated graph', 'no weights', 'short weights', 'no tokenizer', 'broken template',
    'config of the wrong type', 'no model at all', 'no folder',
    'a name too long', 'nothing'])
def test_a_bad_model_is_named_at_configure_and_a_good_one_may_follow(
        client: Client, tmp_path: Path, kind: str) -> None:
    path = {'no folder': f'{tmp_path}/not there', 'nothing': '',
            'a name too long': 'x' * 300}.get(kind)
    if path is None:
        path = str(damaged(tmp_path / 'model', kind))
    bring_to(client, 'unconfigured')
    assert client.set_parameters(model__path=path)[0].successful
    assert not client.change_state('configure')
    assert client.get_state() == 'unconfigured'
    refused = client.ask('hello')
    assert refused.error_code == R.NOT_ACTIVE and 'could not open' in refused.error_msg
    assert '\n' not in refused.error_msg and 40 < len(refused.error_msg) < 900
    assert client.set_parameters(model__path=str(MODELS / 'lfm2'))[0].successful
    bring_to(client, 'active')
    assert client.ask('hello', max_tokens=2).error_code == R.NONE


def test_diagnostics_name_what_is_wrong_with_the_model_until_it_is_mended(
        client: Client) -> None:
    diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
    bring_to(client, 'unconfigured')
    client.set_parameters(model__path='/no/such/folder')
    assert not client.change_state('configure')
    report = diagnostics.wait(lambda m: m.status[0].level == DiagnosticStatus.ERROR)[0].status[0]
    assert '/no/such/folder' in report.message
    client.set_parameters(model__path=str(MODELS / 'lfm2'))
    bring_to(client, 'active')
    count = len(diagnostics.messages)
    diagnostics.wait(lambda m: m.status[0].level == DiagnosticStatus.OK, start=count)


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'active'])
def test_shutdown_from_every_state(state: str) -> None:
    with running_node(autostart=False, state='unconfigured') as client:
        bring_to(client, state)
        assert client.change_state('shutdown')
        assert client.get_state() == 'finalized'
        client.wait_status(lambda s: s.state == 'finalized')
        refused = client.ask('hello')
        assert refused.error_code == R.NOT_ACTIVE and 'shut down' in refused.error_msg
        assert not client.change_state('configure')
