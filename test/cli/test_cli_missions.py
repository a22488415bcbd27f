# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Missions on the command line: kept by `ask` and `chat`, looked at and moved by `missions`."""
import base64
import json
import os
import re
import subprocess
import time

from lfm_ros.cli.main import main
from lfm_ros.cli.output import visible
from lfm_ros.errors import ErrorCode
from lfm_ros.storage.storage import Storage
import pytest
from support import assert_one_line
from support import command
from support import environment
from support import folder
from support import lfm
from support import open_model
from support import WAIT

PLAIN = ('--temperature', '0', '--repetition-penalty', '1', '--threads', '1', '--max-tokens', '8')


def ask(place, text, *more):
    done = lfm('ask', folder(), text, '--missions-dir', place, *PLAIN, '--json', *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def missions(place, *arguments):
    """Run the command and return its JSON."""
    done = lfm('missions', '--missions-dir', place, *arguments, '--json')
    assert (done.returncode, done.stderr) == (0, ''), done.stderr
    assert done.stdout.count('\n') == 1
    return json.loads(done.stdout)


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    """Return a folder with two missions, which stays as it is."""
    place = tmp_path_factory.mktemp('kept') / 'missions'
    ask(place, 'What?', '--system', 'You are a robot.')
    ask(place, 'Where?')
    ask(place, 'Who?', '--mission', 'second one')
    return place


def failed(capsys, status, *arguments):
    """Run a command that fails; return its line."""
    found = main([str(a) for a in arguments])
    printed = capsys.readouterr()
    assert found == status, printed.err
    assert_one_line(printed.err, f'lfm {arguments[0]}')
    assert printed.out == ''
    return printed.err


def test_a_second_command_remembers_what_the_first_was_told(tmp_path):
    place = tmp_path / 'missions'
    texts = [ask(place, 'What?')['text'], ask(place, 'Where?')['text']]
    chat = lfm('chat', folder(), *PLAIN, stdin=b'What?\nWhere?\n')
    assert chat.stdout == ''.join(visible(text) + '\n' for text in texts)
    third = ask(place, 'Who?')
    assert third['usage']['cached_tokens'] > 30, 'it began with the state that was put away'
    assert lfm('chat', folder(), '--missions-dir', place, *PLAIN,
               stdin=b'/undo\nWho?\n').stdout == visible(third['text']) + '\n'
    assert len(missions(place, 'show', 'default')['turns']) == 3
    alone = ask(tmp_path / 'other', 'Where?')
    assert alone['text'] != texts[1]


def test_without_a_folder_nothing_is_kept(tmp_path):
    done = subprocess.run(command('ask', folder(), 'What?', *PLAIN), env=environment(),
                          cwd=tmp_path, capture_output=True, timeout=WAIT)
    assert done.returncode == 0 and not list(tmp_path.iterdir())


def test_list_tells_which_missions_there_are(kept):
    listed = missions(kept, 'list')
    assert list(listed) == ['missions']
    first, second = listed['missions']
    assert (first['mission_id'], first['turns']) == ('default', 2)
    assert (second['mission_id'], second['turns']) == ('second one', 1)
    for mission in (first, second):
        assert mission['tokens'] > 10 and mission['bytes'] > 1000
        assert mission['idle_seconds'] >= 0
    before = lfm('missions', '--missions-dir', kept, 'list')
    behind = lfm('missions', 'list', '--missions-dir', kept)
    assert before.stdout == behind.stdout and before.returncode == behind.returncode == 0
    for word in ('turns', 'default', 'second one', str(first['tokens'])):
        assert word in before.stdout
    assert lfm('missions', '--missions-dir', kept, '--json', 'list').stdout.startswith('{')


def test_show_prints_the_conversation(kept):
    shown = missions(kept, 'show', 'default')
    assert set(shown) >= {'mission_id', 'tokens', 'bytes', 'turns'}
    first = missions(kept, 'list')['missions'][0]
    assert {name: shown[name] for name in ('mission_id', 'tokens', 'bytes')} == \
        {name: first[name] for name in ('mission_id', 'tokens', 'bytes')}
    assert [turn['prompt'] for turn in shown['turns']] == ['What?', 'Where?']
    assert all(set(turn) >= {'prompt', 'text', 'finish_reason'} for turn in shown['turns'])
    done = lfm('missions', '--missions-dir', kept, 'show', 'default')
    for word in ('You are a robot.', '> What?', '> Where?', visible(shown['turns'][1]['text'])):
        assert word in done.stdout


def test_a_mission_moves_from_folder_to_folder(kept, tmp_path):
    file, here = tmp_path / 'default.lfm', tmp_path / 'copy'
    written = missions(kept, 'export', 'default', file)
    assert written == {'mission_id': 'default', 'file': str(file), 'bytes': file.stat().st_size}
    assert missions(here, 'import', file) == {'mission_id': 'default'}
    assert missions(here, 'import', file, 'again') == {'mission_id': 'again'}
    there = missions(kept, 'show', 'default')
    assert missions(here, 'show', 'default') == there
    answers = [ask(here, 'Why?', '--mission', name) for name in ('default', 'again')]
    assert answers[0]['text'] == answers[1]['text']
    assert answers[0]['usage']['cached_tokens'] >= there['tokens'] - 5
    missions(here, 'delete', 'default')
    assert [m['mission_id'] for m in missions(here, 'list')['missions']] == ['again']
    assert missions(here, 'show', 'again')['bytes'] > there['bytes']
    missions(here, 'delete', 'again')
    assert missions(here, 'list') == {'missions': []}
    assert len(list((here / 'states').iterdir())) == 1, 'only what `ask` began with is left'


def test_what_cannot_be_done_is_said_in_one_line(kept, tmp_path, capsys):
    here = ('missions', '--missions-dir', kept)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text').write_text('hello')
    for name in ('nowhere', 'empty', 'text'):
        for rest in (('list',), ('show', 'x'), ('delete', 'x'), ('export', 'x', 'y')):
            failed(capsys, 2, 'missions', '--missions-dir', tmp_path / name, *rest)
    assert not (tmp_path / 'nowhere').exists() and not list((tmp_path / 'empty').iterdir())
    for rest in (('show', 'nobody'), ('delete', 'nobody'), ('export', 'nobody', 'x')):
        assert 'the missions are default, second one' in failed(capsys, 2, *here, *rest)
    failed(capsys, 2, *here, 'show', '../x')
    failed(capsys, 2, *here, 'import', tmp_path / 'text')
    failed(capsys, 2, *here, 'import', tmp_path / 'nothing')
    failed(capsys, 1, *here, 'export', 'default', tmp_path / 'nowhere' / 'x')
    failed(capsys, 2, 'missions', 'list')
    failed(capsys, 2, 'missions', '--missions-dir', '', 'list')
    failed(capsys, 2, *here)
    failed(capsys, 2, *here, 'dance')
    failed(capsys, 2, *here, 'show')
    failed(capsys, 2, 'ask', folder(), 'What?', '--missions-dir', '')
    failed(capsys, 2, 'ask', folder(), 'What?', '--overflow', 'dance')
    (tmp_path / 'missions.db').write_text('no database' * 99)
    failed(capsys, 1, 'missions', '--missions-dir', tmp_path, 'list')
    assert main(['missions', '--missions-dir', str(kept), 'show', 'nobody', '--json']) == 2
    assert json.loads(capsys.readouterr().out)['error_code'] == ErrorCode.UNKNOWN_MISSION


def test_a_folder_in_use_can_be_looked_at_and_nothing_else(kept, tmp_path, capsys):
    before = missions(kept, 'list'), missions(kept, 'show', 'default')
    storage = Storage(kept, open_model())
    part = kept / 'states' / 'x.safetensors.part'
    part.write_bytes(b'half of a state that is being written')
    try:
        assert (missions(kept, 'list'), missions(kept, 'show', 'default')) == before
        assert part.exists(), 'it belongs to the process that writes it'
        for rest in (('delete', 'default'), ('export', 'default', tmp_path / 'x'),
                     ('import', tmp_path / 'x')):
            line = failed(capsys, 2, 'missions', '--missions-dir', kept, *rest)
            assert str(os.getpid()) in line
        failed(capsys, 2, 'ask', folder(), 'What?', '--missions-dir', kept)
        failed(capsys, 2, 'chat', folder(), '--missions-dir', kept)
        assert main(['ask', str(folder()), 'What?', '--missions-dir', str(kept), '--json']) == 2
        assert json.loads(capsys.readouterr().out)['error_code'] == ErrorCode.MISSIONS_LOCKED
    finally:
        storage.close()
        part.unlink()


def test_what_is_said_while_a_chat_goes_on_can_be_seen(tmp_path):
    chat = subprocess.Popen(command('chat', folder(), '--missions-dir', tmp_path / 'd', *PLAIN),
                            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)
    try:
        chat.stdin.write(b'What?\n')
        chat.stdin.flush()
        chat.stdout.readline()
        end = time.monotonic() + WAIT
        while not (found := missions(tmp_path / 'd', 'list')['missions'])[0]['turns']:
            assert time.monotonic() < end
        assert [(m['mission_id'], m['turns']) for m in found] == [('default', 1)]
        second = lfm('ask', folder(), 'Where?', '--missions-dir', tmp_path / 'd', *PLAIN)
        assert second.returncode == 2
        assert_one_line(second.stderr, f'process {chat.pid}')
    finally:
        chat.communicate()
    assert chat.returncode == 0


def test_a_full_context_is_refused_or_makes_room(tmp_path):
    place, talk = tmp_path / 'missions', ('ask', folder(), 'Where is the red box?', *PLAIN,
                                          '--context', '64', '--missions-dir')
    for policy in ('forget', 'slide'):
        done = [lfm(*talk, place / policy, '--overflow', policy) for _ in range(3)]
        assert [d.returncode for d in done] == [0, 0, 0], done
        assert 'forgotten to make room' in done[-1].stderr
    done = [lfm(*talk, place / 'refuse') for _ in range(3)]
    assert done[-1].returncode == 2
    assert_one_line(done[-1].stderr, 'let --overflow make room', 'raise --context')
    assert 0 < len(missions(place / 'refuse', 'show', 'default')['turns']) < 3


def test_an_answer_that_cannot_be_kept_is_given_with_status_1(tmp_path):
    place = tmp_path / 'missions'
    (place / 'missions.db').mkdir(parents=True)
    done = lfm('ask', folder(), 'What?', '--missions-dir', place, *PLAIN)
    assert done.returncode == 1 and done.stdout.strip()
    assert 'lfm ask: missions are not durable' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('verb', ['ask', 'chat'])
def test_json_says_that_an_answer_was_not_kept(verb, tmp_path):
    place = tmp_path / 'missions'
    (place / 'missions.db').mkdir(parents=True)
    text = ['What?'] if verb == 'ask' else []
    done = lfm(verb, folder(), *text, '--missions-dir', place, *PLAIN, '--json', stdin=b'What?')
    answer, = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, answer['error_code']) == (1, ErrorCode.STORAGE_FAILED)
    assert answer['text'] and 'not durable' in answer['error_msg']


def test_an_export_replaces_a_file_only_when_that_is_asked_for(kept, tmp_path, capsys):
    file, here = tmp_path / 'a.lfm', ('missions', '--missions-dir', kept, 'export', 'default')
    file.write_bytes(b'dear to somebody')
    assert '--force' in failed(capsys, 2, *here, file)
    assert file.read_bytes() == b'dear to somebody'
    missions(kept, 'export', 'default', file, '--force')
    assert file.stat().st_size > 1000
    for odd in (tmp_path, tmp_path / 'pipe', tmp_path / 'link'):
        if odd.name == 'pipe':
            os.mkfifo(odd)
        if odd.name == 'link':
            odd.symlink_to('nowhere')
        for force in ((), ('--force',)):
            assert 'not a file' in failed(capsys, 2, *here, odd, *force)
        assert not odd.is_file()


def test_a_plain_archive_is_imported_into_an_encrypted_folder_without_alarm(kept, tmp_path):
    key, place = tmp_path / 'key', tmp_path / 'sealed'
    key.write_bytes(base64.b64encode(b'k' * 32))
    key.chmod(0o600)
    missions(kept, 'export', 'default', tmp_path / 'a.lfm')
    done = lfm('missions', '--missions-dir', place, '--key-file', key, 'import',
               tmp_path / 'a.lfm')
    assert done.returncode == 0
    assert_one_line(done.stderr, 'is encrypted here', 'recomputed')
    assert not re.search('cannot|damaged|wrong', done.stderr)
    missions(tmp_path / 'plain', 'import', tmp_path / 'a.lfm')
    there, here = ask(tmp_path / 'plain', 'Why?'), ask(place, 'Why?', '--key-file', key)
    assert here['text'] == there['text']
    data = b''.join(file.read_bytes() for file in place.rglob('*') if file.is_file())
    assert b'What?' not in data


def test_a_mission_of_another_model_is_read_again_and_that_is_said(kept, tmp_path):
    missions(kept, 'export', 'default', tmp_path / 'x.lfm')
    missions(tmp_path / 'd', 'import', tmp_path / 'x.lfm')
    done = lfm('ask', folder('lfm2-int8'), 'Why?', '--missions-dir', tmp_path / 'd', *PLAIN)
    assert done.returncode == 0
    assert 'lfm ask: ' in done.stderr and 'another model' in done.stderr
    turns = missions(tmp_path / 'd', 'show', 'default')['turns']
    assert [turn['prompt'] for turn in turns] == ['What?', 'Where?', 'Why?']


def test_missions_with_a_key_need_it_in_every_command(kept, tmp_path, capsys):
    place, key, other = tmp_path / 'missions', tmp_path / 'key', tmp_path / 'other'
    for file, byte in ((key, b'k'), (other, b'o')):
        file.write_bytes(base64.b64encode(byte * 32))
        file.chmod(0o600)
    ask(place, 'What is there?', '--key-file', key)
    chat = lfm('chat', folder(), '--missions-dir', place, '--key-file', key, *PLAIN,
               stdin=b'Where is it?\n')
    assert chat.returncode == 0
    turns = missions(place, '--key-file', key, 'show', 'default')['turns']
    assert [turn['prompt'] for turn in turns] == ['What is there?', 'Where is it?']
    assert missions(place, 'list', '--key-file', key)['missions'][0]['turns'] == 2
    missions(place, 'export', 'default', tmp_path / 'x.lfm', '--key-file', key)
    missions(tmp_path / 'there', 'import', tmp_path / 'x.lfm', '--key-file', key)
    data = b''.join(file.read_bytes() for file in tmp_path.rglob('*') if file.is_file())
    assert len(data) > 1000 and b'What is there?' not in data and b'Where is it?' not in data
    here = ('missions', '--missions-dir', place)
    for wrong in ((), ('--key-file', other), ('--key-file', tmp_path), ('--key-file', '')):
        failed(capsys, 2, 'ask', folder(), 'What?', '--missions-dir', place, *wrong)
        for rest in (('list',), ('show', 'default'), ('delete', 'default'),
                     ('import', tmp_path / 'x.lfm', 'y')):
            assert 'key' in failed(capsys, 2, *here, *rest, *wrong)
    failed(capsys, 2, 'missions', '--missions-dir', kept, 'list', '--key-file', key)
    failed(capsys, 2, 'missions', '--missions-dir', tmp_path / 'z', 'import', tmp_path / 'x.lfm')
    assert main([*map(str, here), '--json', 'list']) == 2
    assert json.loads(capsys.readouterr().out)['error_code'] == ErrorCode.KEY_INVALID
    missions(place, 'delete', 'default', '--key-file', key)
    assert missions(place, 'list', '--key-file', key) == {'missions': []}
