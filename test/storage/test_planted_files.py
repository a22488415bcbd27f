# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Links, pipes and other things that somebody has put where a file of ours is to be."""
import json
import os
import stat

from lfm_ros.engine.runtime import capabilities
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.files import ForeignFile
from lfm_ros.files import open_file
from lfm_ros.files import read_file
from lfm_ros.prepare.cache import ready
from lfm_ros.prepare.manifest import damage
from lfm_ros.prepare.manifest import write_manifest
from lfm_ros.storage.archive_reader import ArchiveReader
from lfm_ros.storage.archive_writer import ArchiveWriter
from lfm_ros.storage.atomic_files import FolderLock
from lfm_ros.storage.atomic_files import write_whole
from lfm_ros.storage.encryption import open_cipher
from lfm_ros.storage.offline import CHANGE
from lfm_ros.storage.offline import OfflineMissions
from lfm_ros.storage.offline import READ
from log_support import filled
from log_support import Opened
from planted_support import a_socket
from planted_support import folder
from planted_support import hard_link
from planted_support import link
from planted_support import pipe
from planted_support import PLANTS
from planted_support import soon
import pytest
from storage_support import close
from storage_support import open_store
from storage_support import tell
from support import assert_one_line
from support import open_model

WORDS = 'what others keep here\n'


@pytest.fixture
def victim(tmp_path):
    """Return a file outside of the folder of the missions; it must stay as it is."""
    file = tmp_path / 'victim'
    file.write_text(WORDS)
    file.chmod(0o644)
    yield file
    assert file.read_text() == WORDS and stat.S_IMODE(file.stat().st_mode) == 0o644


@pytest.fixture
def place(tmp_path):
    """Return an empty folder."""
    found = tmp_path / 'place'
    found.mkdir(mode=0o700)
    return found


@pytest.mark.parametrize('plant', PLANTS)
def test_what_is_planted_as_lock_is_not_followed_and_locks_nothing(place, victim, plant):
    plant(place / 'lock', victim)
    lock = soon(lambda: FolderLock(place))
    assert lock.was_left == ''
    with pytest.raises(LfmError) as raised:
        soon(lambda: FolderLock(place))
    assert raised.value.code == ErrorCode.MISSIONS_LOCKED
    lock.release()
    soon(lambda: FolderLock(place)).release()


def test_a_lock_tells_the_number_of_a_process_and_no_other_text(place):
    for text, left in (('4711\n', '4711'), ('\x1b[2J\n', ''), ('9' * 40, ''), ('', '')):
        (place / 'lock').write_text(text)
        lock = FolderLock(place)
        assert lock.was_left == left
        lock.release()


@pytest.mark.parametrize('plant', PLANTS)
def test_what_is_planted_as_the_part_of_an_export_is_not_written_to(place, victim, plant):
    plant(place / 'm.lfm.part', victim)
    assert soon(lambda: ArchiveWriter(b'text', (), {}).write(place / 'm.lfm'))
    assert stat.S_ISREG((place / 'm.lfm').lstat().st_mode)


@pytest.mark.parametrize('plant', [link, hard_link, pipe, a_socket])
def test_an_export_takes_the_place_of_what_is_planted_under_its_name(place, victim, plant):
    plant(place / 'm.lfm', victim)
    soon(lambda: ArchiveWriter(b'text', (), {}).write(place / 'm.lfm'))
    assert stat.S_ISREG((place / 'm.lfm').lstat().st_mode)
    assert os.listdir(place) == ['m.lfm']


def test_what_a_killed_export_left_goes_with_the_next_one_and_what_is_written_now_stays(place):
    with open(place / '.lfm-0123456789abcdef.part', 'w'), open(place / 'm.lfm.part', 'w'):
        pass  # of a process that is gone
    (place / 'other.part').write_text(WORDS)

    class Slow(ArchiveWriter):
        def _fill(self, stream):
            assert len(os.listdir(place)) == 2, 'the two that were left are gone'
            ArchiveWriter(b'', (), {}).write(place / 'm.lfm')
            super()._fill(stream)

    Slow(b'text', (), {}).write(place / 'm.lfm')
    assert sorted(os.listdir(place)) == ['m.lfm', 'other.part']


@pytest.mark.parametrize('plant', [link, hard_link, pipe, a_socket])
def test_a_file_is_written_beside_what_is_planted_and_takes_its_place(place, victim, plant):
    for name in ('x', 'x.part'):
        plant(place / name, victim)
    soon(lambda: write_whole(place / 'x', b'data'))
    assert read_file(place / 'x', 9) == b'data'


@pytest.mark.parametrize('plant', [link, pipe, folder, a_socket])
def test_only_regular_files_are_opened(place, victim, plant):
    plant(place / 'x', victim)
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_CREAT | os.O_RDWR, os.O_WRONLY):
        with pytest.raises(OSError) as raised:
            soon(lambda flags=flags: open_file(place / 'x', flags))
        if plant is not folder:
            assert isinstance(raised.value, ForeignFile), flags
    with pytest.raises(OSError):
        open_file('/dev/null')


def test_a_file_that_is_larger_than_it_can_be_is_not_read(place):
    (place / 'x').write_bytes(b'12345')
    with open(place / 'holes', 'wb') as file:
        file.truncate(1 << 40)
    assert read_file(place / 'x', 5) == b'12345'
    for name, most in (('x', 4), ('holes', 1 << 20)):
        with pytest.raises(ForeignFile):
            read_file(place / name, most)


@pytest.mark.parametrize('ending', ['', '-wal', '-shm'])
@pytest.mark.parametrize('plant', PLANTS)
def test_missions_go_on_in_memory_when_something_is_planted_as_their_log(
        tmp_path, victim, plant, ending):
    place = tmp_path / 'place'
    made = filled(place, killed=True, a=6)
    name = f'missions.db{ending}'
    (place / name).unlink(missing_ok=True)
    plant(place / name, victim)
    opened = soon(lambda: Opened(place))
    assert_one_line(opened.log.durability_error, 'not durable', name)
    if ending == '-shm':
        assert list(opened.prefill_all()) == ['a'], 'nothing is missing'
        assert opened.log.read('a').ids == made['a'].ids
    with pytest.raises(Exception) as raised:
        soon(lambda: OfflineMissions(place, READ))
    assert_one_line(getattr(raised.value, 'message', str(raised.value)))
    # When it is gone all is on the disk again.
    (place / name).unlink() if plant is not folder else (place / name).rename(tmp_path / 'away')
    assert soon(opened.log.retry) and not opened.log.durability_error
    opened.log.close()


@pytest.mark.parametrize('plant', [link, hard_link, pipe, a_socket])
def test_a_journal_beside_a_log_is_removed_unread(tmp_path, victim, plant):
    place = tmp_path / 'place'
    made = filled(place, killed=True, a=6)
    plant(place / 'missions.db-journal', victim)
    opened = soon(lambda: Opened(place))
    assert not opened.log.durability_error and opened.log.read('a').ids == made['a'].ids
    assert not os.path.lexists(place / 'missions.db-journal')
    opened.log.close()


def test_a_hot_journal_deletes_no_file_that_it_names(tmp_path, victim):
    place = tmp_path / 'place'
    made = filled(place, a=6)
    answer_log = place / 'missions.db-journal'
    answer_log.write_bytes(hot_journal((place / 'missions.db').read_bytes(), str(victim)))
    with Opened(place) as opened:
        assert opened.log.read('a').ids == made['a'].ids
    assert victim.exists() and not answer_log.exists()


def hot_journal(database, names):
    """Return a journal as SQLite finds it after a crash; it names a file of several ones."""
    sector, page = 512, 1024
    head = bytes.fromhex('d9d505f920a163d7') + (1).to_bytes(4, 'big') + (0).to_bytes(4, 'big') + \
        (len(database) // page).to_bytes(4, 'big') + sector.to_bytes(4, 'big') + \
        page.to_bytes(4, 'big')
    first = bytearray(database[:page])
    total = sum(first[place] for place in range(page - 200, 0, -200))
    name = names.encode()
    return head.ljust(sector, b'\0') + (1).to_bytes(4, 'big') + bytes(first) + \
        total.to_bytes(4, 'big') + (1 << 30 // page).to_bytes(4, 'big') + name + \
        len(name).to_bytes(4, 'big') + sum(name).to_bytes(4, 'big') + head[:8]


@pytest.mark.parametrize('plant', [link, pipe, folder, a_socket])
def test_what_is_planted_as_a_state_is_not_read(tmp_path, victim, plant):
    model = open_model('lfm2-int4')
    store = open_store(tmp_path / 'place', model)
    tell(store, 'm', 'Where is the dock?')
    close(store)
    states = list((tmp_path / 'place' / 'states').iterdir())
    assert states
    for number, file in enumerate(states):
        file.rename(tmp_path / f'{number}')
        plant(file, victim)
    store = soon(lambda: open_store(tmp_path / 'place', model))
    assert tell(store, 'm', 'Go there.')
    close(store)


def test_links_in_a_folder_of_missions_are_refused_and_the_folder_may_be_one(tmp_path):
    model, real = open_model('lfm2-int4'), tmp_path / 'real'
    (tmp_path / 'elsewhere').mkdir(mode=0o700)
    (tmp_path / 'elsewhere' / 'x.part').write_text(WORDS)
    real.mkdir(mode=0o700)
    (tmp_path / 'place').symlink_to(real)
    store = open_store(tmp_path / 'place', model)
    tell(store, 'm', 'Where?')
    close(store)
    assert len(list((real / 'states').iterdir())) > 1
    (real / 'states').rename(tmp_path / 'kept')
    (real / 'states').symlink_to(tmp_path / 'elsewhere')
    store = open_store(tmp_path / 'place', model)
    tell(store, 'm', 'And?')
    assert_one_line(store.storage.durability_error, 'states', 'symbolic link')
    assert store.storage.durable
    assert os.listdir(tmp_path / 'elsewhere') == ['x.part']
    (real / 'states').unlink()
    store.maintain(0.0)
    close(store)
    assert not store.storage.durability_error and any((real / 'states').iterdir())


def test_an_archive_is_read_through_a_link_that_a_user_names_and_no_other(tmp_path, capsys):
    filled(tmp_path / 'place', a=6)
    with OfflineMissions(tmp_path / 'place', CHANGE) as shelf:
        shelf.export('a', tmp_path / 'a.lfm')
        (tmp_path / 'link.lfm').symlink_to('a.lfm')
        assert shelf.import_(tmp_path / 'link.lfm', 'b')[0] == 'b'
    with pytest.raises(LfmError) as raised:
        ArchiveReader(tmp_path / 'link.lfm')
    assert raised.value.code == ErrorCode.ARCHIVE_INVALID
    assert_one_line(raised.value.message, 'symbolic link')
    with ArchiveReader(tmp_path / 'a.lfm') as archive:
        assert archive.transcript.mission_id == 'a'


@pytest.mark.parametrize('plant', [pipe, folder, a_socket])
def test_an_archive_or_key_that_is_no_file_is_refused(tmp_path, victim, plant):
    path = tmp_path / 'x'
    plant(path, victim)
    for work, code in ((lambda: ArchiveReader(path, follow=True), ErrorCode.ARCHIVE_INVALID),
                       (lambda: open_cipher(str(path)), ErrorCode.KEY_INVALID)):
        with pytest.raises(LfmError) as raised:
            soon(work)
        assert raised.value.code == code
        assert_one_line(raised.value.message)


@pytest.mark.parametrize('plant', PLANTS)
def test_what_was_found_out_of_a_graph_is_written_and_read_without_what_is_planted(
        place, victim, plant):
    known = capabilities.Capabilities(9, False, True, True, True, True)
    for name in (capabilities.FILE, f'{capabilities.FILE}.{os.getpid()}'):
        plant(place / name, victim)
    assert soon(lambda: capabilities.read_capabilities(place, 's')) is None
    soon(lambda: capabilities.write_capabilities(place, 's', known))
    if plant is not folder:
        assert capabilities.read_capabilities(place, 's') == known


@pytest.mark.parametrize('plant', [link, pipe, folder, a_socket])
def test_prepared_graphs_are_damaged_where_something_is_planted_among_them(place, victim, plant):
    (place / 'graph').write_text(WORDS)
    write_manifest(place, {})
    assert not damage(place)
    (place / 'graph').unlink()
    plant(place / 'graph', victim)
    assert 'graph' in soon(lambda: damage(place))
    (place / 'manifest.json').unlink()
    plant(place / 'manifest.json', victim)
    assert 'manifest.json' in soon(lambda: damage(place))
    if plant is not folder:
        soon(lambda: write_manifest(place, {'what': 'it is'}))
        assert json.loads((place / 'manifest.json').read_text())['what'] == 'it is'


@pytest.mark.parametrize('plant', [link, pipe, folder, a_socket])
def test_a_model_opens_as_it_is_where_something_is_planted_as_the_lock_of_the_cache(
        tmp_path, place, victim, plant, caplog):
    plant(place / '.lock', tmp_path / 'new')
    assert soon(lambda: ready(open_model('lfm2-int4').folder, place)) is None
    assert '.lock' in caplog.text and not (tmp_path / 'new').exists()
