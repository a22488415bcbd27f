# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A mission goes out as one file and comes in again; a file that is damaged changes nothing."""
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
import json
import os
import struct
import zipfile

import cipher_support
from cipher_support import cipher  # noqa: F401
from lfm_ros.conversation.context_window import FORGET
from lfm_ros.conversation.context_window import SLIDE
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.storage.archive_reader import ArchiveReader
from lfm_ros.storage.archive_writer import ArchiveWriter
from lfm_ros.storage.offline import CHANGE
from lfm_ros.storage.offline import MAKE
from lfm_ros.storage.offline import OfflineMissions
from lfm_ros.storage.storage import Storage
import pytest
from support import ask
from support import assert_one_line
from support import check_invariants
from support import open_model

SYSTEM = 'You are a robot.'


@contextmanager
def opened(folder, model=None, **retention):
    """Open the missions of a folder as a node does."""
    model = model or open_model()
    storage = Storage(folder, model, cipher_support.current)
    try:
        store = MissionStore(model, SYSTEM, RetentionPolicy(**retention), storage)
        yield store
        store.flush_all()
    finally:
        storage.close()


def talk(store, mission_id, *prompts):
    """Ask, and return the ids that came."""
    found = []
    for prompt in prompts:
        mission = store.get_or_create(mission_id)
        found.append(ask(mission, prompt).generation.ids)
        store.commit(mission_id)
    return found


def files_in(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*')
            if p.is_file() and p.name not in ('missions.db-shm', 'lock')}


@pytest.fixture
def archive(tmp_path):
    """Return an archive of a mission with two turns and an observation between."""
    with opened(tmp_path / 'first') as store:
        talk(store, 'm', 'What?')
        store.observe('m', 'It is dark.')
        store.save('m')
        talk(store, 'm', 'Where?')
        store.archives.export('m', tmp_path / 'm.lfm')
    return tmp_path / 'm.lfm'


def test_a_mission_goes_on_elsewhere_as_it_would_have_here(
        cipher, tmp_path, archive):  # noqa: F811
    with opened(tmp_path / 'first') as store:
        expected = talk(store, 'm', 'And now?', 'Why?')
        before = store.storage.log.read('m').entries[:4]
    with opened(tmp_path / 'second') as store:
        talk(store, 'other', 'What?')
        assert store.archives.import_(archive, 'copy') == 'copy'
        info = store.list()[-1]
        assert (info.mission_id, info.turns, info.resident) == ('copy', 2, False)
        assert info.stored_bytes > 0
        mission = store.get('copy')
        assert mission.entries == before
        assert not mission.pending_sizes, 'the state came with it'
        assert talk(store, 'copy', 'And now?', 'Why?') == expected
        check_invariants(mission)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob('*.part'))


def test_it_goes_on_after_a_restart_and_without_its_states(tmp_path, archive):
    with opened(tmp_path / 'first') as store:
        expected = talk(store, 'm', 'And now?')
    bare = tmp_path / 'bare.lfm'
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(bare, 'w') as new:
        new.writestr('mission.json', old.read('mission.json'))
    for number, file in enumerate((archive, bare)):
        with opened(tmp_path / f'{number}') as store:
            store.archives.import_(file)
        with opened(tmp_path / f'{number}') as store:
            assert talk(store, 'm', 'And now?') == expected


def test_it_works_without_a_place_for_missions(cipher, tmp_path, archive):  # noqa: F811
    with opened(None) as store:
        talk(store, 'n', 'What?', 'Where?')
        path = tmp_path / 'n.lfm'
        assert store.archives.export('n', path) == path.stat().st_size
        expected = talk(store, 'n', 'And now?')
        store.archives.import_(path, 'again')
        assert talk(store, 'again', 'And now?') == expected
        assert store.archives.import_(archive) == 'm'
        assert store.get('m').turn_count == 2


def test_another_model_reads_the_text_again_and_says_so(
        cipher, tmp_path, archive, caplog):  # noqa: F811
    with opened(tmp_path / 'second', open_model('lfm2-int8')) as store:
        store.archives.import_(archive)
        assert not store.storage.notice, 'states of another model are not even tried'
        mission = store.get('m')
        assert 'another model' in caplog.text and "'m'" in caplog.text
        assert [t.prompt for t in mission.turns] == ['What?', 'Where?']
        assert mission.fingerprint == open_model('lfm2-int8').folder.fingerprint
        assert mission.pending_sizes
        talk(store, 'm', 'And now?')
    with opened(tmp_path / 'second', open_model('lfm2-int8')) as store:
        assert store.list()[0].turns == 3


def test_a_mission_that_was_slid_takes_its_state_along(tmp_path, cipher):  # noqa: F811
    model = open_model(context_length=96)
    with opened(tmp_path / 'first', model, overflow=SLIDE) as store:
        talk(store, 'm', *['Where is the red box?'] * 5)
        assert store.get('m').slid
        store.archives.export('m', tmp_path / 'm.lfm')
        expected = talk(store, 'm', 'And now?')
    with opened(tmp_path / 'second', model, overflow=SLIDE) as store:
        store.archives.import_(tmp_path / 'm.lfm')
        assert talk(store, 'm', 'And now?') == expected
        assert not store.storage.notice
    with opened(tmp_path / 'third', open_model(context_length=64), overflow=FORGET) as store:
        store.archives.import_(tmp_path / 'm.lfm')
        talk(store, 'm', 'And now?')
        check_invariants(store.get('m'))


def test_what_is_taken_or_too_much_is_refused(tmp_path, archive):
    with opened(tmp_path / 'first', max_missions=2) as store:
        for name, code in (('', ErrorCode.MISSION_EXISTS), ('../x', ErrorCode.INVALID_MISSION_ID)):
            with pytest.raises(LfmError) as raised:
                store.archives.import_(archive, name)
            assert raised.value.code == code
        store.archives.import_(archive, 'n')
        with pytest.raises(LfmError) as raised:
            store.archives.import_(archive, 'o')
        assert raised.value.code == ErrorCode.TOO_MANY_MISSIONS
        with pytest.raises(LfmError) as raised:
            store.archives.export('nobody', tmp_path / 'x')
        assert raised.value.code == ErrorCode.UNKNOWN_MISSION
        # States that both stand on stay when one of them goes.
        store.delete('n')
        assert store.list()[0].stored_bytes


def test_the_states_of_a_deleted_mission_come_back_with_it(
        cipher, tmp_path, archive):  # noqa: F811
    with opened(tmp_path / 'first') as store:
        store.delete('m')
        store.archives.import_(archive)
        assert not store.get('m').pending_sizes
        store.delete('m')
        left = {p.name for p in (tmp_path / 'first' / 'states').iterdir()}
        assert len(left) == 1, 'only the state after the system prompt'


@pytest.mark.parametrize('place', ['nowhere/m.lfm', '', '/dev/full/x', 'm\0.lfm', 'folder'])
def test_a_place_that_cannot_be_written_is_said_and_left_as_it_was(tmp_path, archive, place):
    (tmp_path / 'folder').mkdir()
    before = files_in(tmp_path)
    with OfflineMissions(tmp_path / 'first', CHANGE) as shelf, pytest.raises(LfmError) as raised:
        shelf.export('m', tmp_path / place if place else type(tmp_path)(''))
    assert raised.value.code == ErrorCode.STORAGE_FAILED
    assert_one_line(raised.value.message, 'cannot be written')
    assert files_in(tmp_path) == before


def test_exports_to_one_file_at_once_wait_for_each_other(tmp_path):
    file, packages = tmp_path / 'out.lfm', [ArchiveWriter(b'x' * n, (), {}) for n in (9, 1 << 20)]
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda n: packages[n % 2].write(file), range(200)))
    assert len(set(sizes[::2])) == len(set(sizes[1::2])) == 1
    assert file.stat().st_size in sizes and os.listdir(tmp_path) == ['out.lfm']
    with zipfile.ZipFile(file) as packed:
        assert packed.testzip() is None


def test_a_disk_that_is_full_leaves_the_archive_of_before(tmp_path, archive, monkeypatch):
    before = archive.read_bytes()

    def full(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with opened(None) as store:
        talk(store, 'm', 'What?')
        with pytest.raises(LfmError) as raised:
            store.archives.export('m', archive)
    assert_one_line(raised.value.message, 'No space left')
    assert raised.value.code == ErrorCode.STORAGE_FAILED
    assert archive.read_bytes() == before and not list(tmp_path.glob('*.part'))


def refused(tmp_path, file):
    """Check that a file is refused and nothing is left of it."""
    target = tmp_path / 'target'
    before = files_in(tmp_path)
    with OfflineMissions(target, MAKE, cipher_support.current) as shelf:
        with pytest.raises(LfmError) as raised:
            shelf.import_(file)
        assert not shelf.list()
    assert raised.value.code == ErrorCode.ARCHIVE_INVALID
    assert_one_line(raised.value.message, str(file), 'cannot be imported')
    after, log = files_in(tmp_path), cipher_support.current.named('missions.db')
    assert {n for n in after if n not in before} <= {
        (target / f'{log}{ending}').relative_to(tmp_path) for ending in ('', '-wal')}
    return raised.value.message


def test_a_file_that_lacks_its_end_is_refused(cipher, tmp_path, archive):  # noqa: F811
    data = archive.read_bytes()
    cut = tmp_path / 'cut.lfm'
    for size in (0, 1, 30, 100, 1000, *range(2000, len(data), 1711), len(data) - 22,
                 len(data) - 1):
        cut.write_bytes(data[:size])
        refused(tmp_path, cut)


def test_a_file_with_flipped_bytes_is_refused_or_gives_what_was_said(
        cipher, tmp_path, archive):  # noqa: F811
    data = archive.read_bytes()
    with ArchiveReader(archive, cipher) as good:
        entries = good.transcript.entries
        text = good._zip.getinfo(cipher.named('mission.json'))
    bad, request_errors = tmp_path / 'bad.lfm', 0
    for place in (*range(0, text.file_size + 60, 7), *range(0, len(data), 61),
                  *range(len(data) - 400, len(data))):
        changed = bytearray(data)
        changed[place] ^= 0x21
        bad.write_bytes(changed)
        try:
            with ArchiveReader(bad, cipher) as opened_archive:
                assert opened_archive.transcript.entries == entries, place
                assert opened_archive.transcript.mission_id == 'm'
        except LfmError as error:
            assert error.code == ErrorCode.ARCHIVE_INVALID
            assert_one_line(error.message)
            request_errors += 1
    assert request_errors > text.file_size / 7 - 10


def test_a_damaged_state_is_left_out_and_the_mission_read_again(
        cipher, tmp_path, archive):  # noqa: F811
    with opened(tmp_path / 'first') as store:
        expected = talk(store, 'm', 'And now?')
    with zipfile.ZipFile(archive) as packed:
        infos = packed.infolist()
    assert len(infos) == 4
    for number, info in enumerate(infos[2:]):  # the state after the system prompt is there
        data = bytearray(archive.read_bytes())
        data[info.header_offset + info.file_size // 2] ^= 1
        bad = tmp_path / 'bad.lfm'
        bad.write_bytes(data)
        with opened(tmp_path / f'{number}') as store:
            store.archives.import_(bad)
            assert 'is recomputed' in store.storage.notice
            assert talk(store, 'm', 'And now?') == expected


def test_a_state_that_goes_before_it_is_written_is_left_out(
        cipher, tmp_path, archive):  # noqa: F811
    with opened(tmp_path / 'first') as store:
        package = store.archives.writer('m')
        package.segments[-1].unlink()
        package.write(tmp_path / 'less.lfm')
    with opened(tmp_path / 'second') as store:
        store.archives.import_(tmp_path / 'less.lfm')
        assert store.get('m').turn_count == 2 and store.get('m').pending_sizes


def repacked(archive, file, change=None, more=(), compression=zipfile.ZIP_STORED):
    """Write an archive anew, with other content in mission.json and more members."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(file, 'w', compression) as new:
        for info in old.infolist():
            data = old.read(info)
            if change and info.filename == 'mission.json':
                told = json.loads(data)
                data = json.dumps(change(told) or told)
            new.writestr(info.filename, data)
        for name, data in more:
            new.writestr(name, data)
    return file


def entry(number, **fields):
    return lambda told: told['entries'][number].update(fields)


@pytest.mark.parametrize('change', [
    lambda told: told.update(version=3), lambda told: told.update(format='x'),
    lambda told: told.update(mission_id='../x'), lambda told: told.update(mission_id=None),
    lambda told: told.update(slid=99), lambda told: told.update(slid=-1),
    lambda told: told.update(slid='1'), lambda told: told.update(entries=[]),
    lambda told: told.update(entries={}), lambda told: told.pop('entries') and None,
    lambda told: told['entries'].pop(0) and None, lambda told: told['entries'].pop(1) and None,
    lambda told: told.update(fingerprint='x y'), lambda told: [told], lambda told: 'text',
    lambda told: {'format': 'lfm_ros mission'},
    entry(1, text='Something else.'), entry(1, prompt='Who?'), entry(1, ids=[1, 2]),
    entry(1, ids=['a']), entry(1, ids=[1.5]), entry(1, ids=[-1]), entry(1, ids=[1 << 40]),
    entry(1, ids=[]), entry(1, calls=[0]), entry(1, calls=[]), entry(1, kind='head'),
    entry(1, kind='dance'), entry(1, digest='0' * 64), entry(1, parent='0' * 64),
    entry(1, parent=7), entry(1, text='\ud800'), entry(1, sampling='\ud800'),
    entry(1, sampling=None), entry(1, time='x'), entry(1, time=float('nan')),
    entry(1, time=1e300), entry(1, time=True),
], ids=str)
def test_an_archive_with_something_else_in_it_is_refused(tmp_path, archive, change):
    refused(tmp_path, repacked(archive, tmp_path / 'bad.lfm', change))


NAME = f'{"0" * 32}.0.0-1.end.safetensors'


@pytest.mark.parametrize('name', [
    '../x', f'states/../{NAME}', f'/states/{NAME}', f'states/x/{NAME}', 'states/', 'x',
    f'states/{"0" * 32}.{"0" * 32}.5-5.end.safetensors', f'states/{NAME}.part', 'mission.json',
    f'states/{"0" * 32}.0.0-{"9" * 99}.end.safetensors'])
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_an_archive_with_names_of_other_files_is_refused(tmp_path, archive, name):
    refused(tmp_path, repacked(archive, tmp_path / 'bad.lfm', more=[(name, b'x')]))
    assert not (tmp_path / 'x').exists()


def test_states_that_are_none_are_not_kept(tmp_path, archive):
    bad = repacked(archive, tmp_path / 'bad.lfm', more=[(f'states/{NAME}', b'x' * 99)])
    with OfflineMissions(tmp_path / 'target', MAKE) as shelf:
        name, notice = shelf.import_(bad)
        assert name == 'm' and NAME in notice
    assert not list((tmp_path / 'target' / 'states').glob(f'{NAME}*'))


def test_what_would_grow_when_it_is_unpacked_is_refused(tmp_path, archive):
    bomb = repacked(archive, tmp_path / 'bomb.lfm', entry(1, text=' ' * (8 << 20)),
                    compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    assert 'size' in refused(tmp_path, bomb)
    data = bytearray(archive.read_bytes())
    start = data.index(b'PK\1\2')  # the list of what is in it: packed size, then unpacked size
    for sizes in ((0xfffffff0, 0xfffffff0), (200 << 20, 200 << 20), (4, 1 << 30)):
        data[start + 20:start + 28] = struct.pack('<II', *sizes)
        (tmp_path / 'huge.lfm').write_bytes(data)
        refused(tmp_path, tmp_path / 'huge.lfm')


def test_what_is_no_archive_is_refused(tmp_path, archive):
    other = tmp_path / 'other.zip'
    with zipfile.ZipFile(other, 'w') as packed:
        packed.writestr('readme.txt', 'hello')
    (tmp_path / 'text').write_text('hello')
    (tmp_path / 'folder').mkdir()
    os.mkfifo(tmp_path / 'pipe')
    for name in ('other.zip', 'text', 'folder', 'nothing', 'x' * 300, 'nothing/x', 'text/x'):
        refused(tmp_path, tmp_path / name)
    with pytest.raises(LfmError) as raised:
        ArchiveReader(tmp_path / 'pipe')
    assert raised.value.code == ErrorCode.ARCHIVE_INVALID


def test_ids_that_the_model_does_not_have_are_refused(tmp_path, archive):
    with ArchiveReader(archive) as good:
        told = good.transcript
    foreign = Transcript('m', told.fingerprint)
    foreign.push([1, 320], [2])
    foreign.add('head')
    ArchiveWriter.of(foreign, None).write(tmp_path / 'bad.lfm')
    with opened(tmp_path / 'second') as store:
        with pytest.raises(LfmError) as raised:
            store.archives.import_(tmp_path / 'bad.lfm')
        assert raised.value.code == ErrorCode.ARCHIVE_INVALID and not store.list()
