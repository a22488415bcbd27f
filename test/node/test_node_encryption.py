# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node with a key remembers after a kill; nobody can read its missions without the key."""
import base64
from pathlib import Path

from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_support import MODELS
from node_support import NodeProcess
from node_support import parameters
from node_support import running_node

R = msg.Response
PROMPTS = ['Where is the red box?', 'The dock is blue.', 'And then?']


def key_file(folder: Path, byte: bytes) -> Path:
    """Return a file with a key."""
    file = folder / byte.decode()
    file.write_bytes(base64.b64encode(byte * 32) + b'\n')
    file.chmod(0o600)
    return file


def refuses(place: Path, *words: str, **values: object) -> None:
    """Check that a node with these parameters is not configured, and says why."""
    node = NodeProcess(*parameters(model__path=MODELS / 'lfm2', missions__dir=place, **values))
    try:
        with Client(node.domain) as client:
            client.wait_until(lambda: 'configure failed' in node.log, 'the refusal')
        assert f'[{R.KEY_INVALID}]' in node.log
        for word in words:
            assert word in node.log
        node.stop()
    finally:
        node.close()


def test_a_node_with_a_key_remembers_after_a_kill_and_nobody_reads_what_it_was_told(
        tmp_path: Path) -> None:
    place, key, other = tmp_path / 'missions', key_file(tmp_path, b'k'), key_file(tmp_path, b'o')
    with running_node(missions__dir=place, missions__key_file=key, check_end=False,
                      missions__checkpoint_turns=1) as client:
        answers = [client.ask(prompt, max_tokens=8) for prompt in PROMPTS[:2]]
        publisher = client.publisher(msg.Observation, '~/observe')
        before = client.missions()['default'].tokens
        publisher.publish(msg.Observation(mission_id='default', text='It is dark outside.'))
        client.wait_until(lambda: client.missions()['default'].tokens > before, 'the observation')
        saved = client.call(srv.SaveMission, '~/missions/save', srv.SaveMission.Request())
        assert saved.error_code == R.NONE
        exported = client.call(srv.ExportMission, '~/missions/export',
                               srv.ExportMission.Request(file='x.lfm'))
        assert exported.error_code == R.NONE
        tokens = client.missions()['default'].tokens
        client.node_process.process.kill()
        client.node_process.process.wait()
    data = b''.join(file.read_bytes() for file in place.rglob('*') if file.is_file())
    assert len(data) > 10_000
    for text in (*PROMPTS[:2], *(answer.text for answer in answers), 'It is dark outside.'):
        assert text and text.encode() not in data
    refuses(place, 'missions.key_file')
    refuses(place, 'missions.key_file', missions__key_file=other)
    refuses(place, 'openssl rand', missions__key_file=tmp_path / 'nothing')
    with running_node(missions__dir=place, missions__key_file=key) as client:
        mission = client.missions()['default']
        assert mission.turns == 2 and mission.tokens == tokens
        answer = client.ask(PROMPTS[2], max_tokens=8)
        assert not answer.error_code and answer.usage.cached_tokens > 20
        imported = client.call(srv.ImportMission, '~/missions/import',
                               srv.ImportMission.Request(file='x.lfm', new_mission_id='copy'))
        assert imported.error_code == R.NONE and client.missions()['copy'].turns == 2
