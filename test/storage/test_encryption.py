# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""With a key nothing that was said can be read on the disk, and without it nothing opens."""
from contextlib import closing
import hashlib
import json
import shutil
import sqlite3
import stat

from cipher_support import cipher  # noqa: F401
from cipher_support import OTHER
from cipher_support import PLAIN
from cipher_support import SEALED
from cipher_support import using
from lfm_ros.conversation.entry import pack
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.storage.layout import LOG_FILE
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.offline import CHANGE
from lfm_ros.storage.offline import MAKE
from lfm_ros.storage.offline import OfflineMissions
from lfm_ros.storage.offline import READ
from lfm_ros.storage.storage import Storage
from log_support import same
from log_support import transcript
import pytest
from safetensors import safe_open
from storage_support import close
from storage_support import copy_if_there
from storage_support import files_in
from storage_support import open_store
from storage_support import place  # noqa: F401
from storage_support import SYSTEM
from storage_support import tell
from storage_support import told
from support import assert_one_line
from support import open_model
import vision_support

MISSION = 'kitchen patrol'


def live(folder, model):
    """Do all that leaves something in a folder; return the open store and all that was said."""
    store = open_store(folder, model, checkpoint_turns=1)
    tell(store, MISSION, 'Where is the red toolbox?')
    store.observe(MISSION, 'The battery is at 34 percent.')
    mission = store.get(MISSION)
    vision_support.answer(mission, 'What is on this picture?', vision_support.image())
    store.commit(MISSION)
    store.save(MISSION)
    store.fork(MISSION, 'second patrol')
    tell(store, 'second patrol', 'Go to the charging station.')
    store.maintain(60.0)
    store.storage.flush()
    (folder / 'exports').mkdir(mode=0o700)
    for name in (MISSION, 'second patrol'):
        store.archives.export(name, folder / 'exports' / f'{len(name)}.lfm')
    return store, secrets(store)


def secrets(store):
    """Return pieces of all that may not be found on the disk, by what they are."""
    found = {'name': MISSION.encode(), 'other name': b'second patrol', 'head': SYSTEM.encode()}
    for name in [info.mission_id for info in store.list()]:
        mission = store.get(name)
        mission.prefill_all()
        for number, (entry, ids, _) in enumerate(mission.parts()):
            for at in range(len(ids) - 3):
                part, where = ids[at:at + 4], f'ids {at} of {number} of {name}'
                found[where] = pack(part)
                found[f'{where} as text'] = json.dumps(part)[1:-1].encode()
            for what in ('prompt', 'text', 'sampling', 'digest'):
                if len(text := getattr(entry, what)) > 3:
                    found[f'{what} {number} of {name}'] = text.encode()
            for prepared in entry.images:
                found[f'image {number} of {name}'] = prepared.main[40:72]
                found[f'digest of image {number} of {name}'] = prepared.digest.encode()
        for key, array in mission.state.arrays().items():
            row = array.tobytes()
            found[f'{key} of {name}'] = next(row[at:at + 16] for at in range(0, len(row), 16)
                                             if len(set(row[at:at + 16])) > 8)
    return found


def leaks(folder, hidden):
    """Return which secrets are in the names or the contents of files."""
    data = b'\0'.join(part for file in folder.rglob('*') if file.is_file()
                      for part in (file.name.encode(), file.read_bytes()))
    assert len(data) > 10_000
    return [name for name, piece in hidden.items() if piece in data]


def test_with_a_key_nothing_that_was_said_is_in_any_file(place):  # noqa: F811
    model, killed = vision_support.open_model(), place.with_name('killed')
    with using(SEALED):
        store, hidden = live(place, model)
        shutil.copytree(place, killed, copy_function=copy_if_there)  # with what is in the WAL
        expected = told(store, MISSION)
        close(store)
        assert not leaks(killed, hidden) and not leaks(place, hidden)
        for folder in (killed, place):
            store = open_store(folder, model)
            assert told(store, MISSION) == expected and not store.storage.durability_error
            close(store)
    with using(PLAIN):
        store, hidden = live(place.with_name('plain'), model)
        close(store)
        assert leaks(place.with_name('plain'), hidden) == list(hidden), 'the search finds all'


def test_only_the_owner_can_read_what_is_kept(place, cipher):  # noqa: F811
    store, _ = live(place, vision_support.open_model())
    for path in (place, *place.rglob('*')):
        mode = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == mode, path
    close(store)


def refused(open_it, *words):
    """Check that something is refused for its key, in one sentence."""
    with pytest.raises(LfmError) as raised:
        open_it()
    assert raised.value.code == ErrorCode.KEY_INVALID
    assert_one_line(raised.value.message, *words)


@pytest.mark.parametrize(('written', 'words'), [
    (SEALED, ['is encrypted with the key', 'missions.key_file', SEALED.key_id]),
    (PLAIN, ['is not encrypted', 'export'])], ids=['sealed', 'plain'])
def test_without_the_right_key_nothing_opens_and_nothing_changes(
        place, tmp_path, written, words):  # noqa: F811
    model = open_model('lfm2-int4')
    with using(written):
        store = open_store(place, model)
        tell(store, MISSION, 'Where?')
        close(store)
    before = {file: file.read_bytes() for file in place.rglob('*') if file.is_file()}
    for wrong in (PLAIN, SEALED, OTHER):
        if wrong is not written:
            refused(lambda wrong=wrong: Storage(place, model, wrong), str(place), *words)
            for purpose in (READ, CHANGE, MAKE):
                refused(lambda wrong=wrong, purpose=purpose:
                        OfflineMissions(place, purpose, wrong), str(place), *words)
    assert before == {file: file.read_bytes() for file in place.rglob('*') if file.is_file()}
    with using(written):
        store = open_store(place, model)
        assert store.get(MISSION).turn_count == 1
        close(store)


def test_a_damaged_log_is_not_taken_for_one_without_a_key(place):  # noqa: F811
    model = open_model('lfm2-int4')
    with using(SEALED):
        store = open_store(place, model)
        tell(store, MISSION, 'Where?')
        close(store)
        file = place / SEALED.named(LOG_FILE)
        file.write_bytes(b'x' * 5000)
        for wrong in (PLAIN, OTHER):
            refused(lambda wrong=wrong: Storage(place, model, wrong), SEALED.key_id)
        file.rename(f'{file}.mended')  # as a crash in the middle of mending leaves it
        refused(lambda: Storage(place, model), SEALED.key_id)


def test_an_archive_needs_the_key_that_it_was_written_with(place, tmp_path):  # noqa: F811
    model, file = open_model('lfm2-int4'), tmp_path / 'a.lfm'
    with using(SEALED):
        store = open_store(place, model)
        tell(store, MISSION, 'Where?')
        store.archives.export(MISSION, file)
        expected = told(store, MISSION)
        close(store)
    for number, wrong in enumerate((PLAIN, OTHER)):
        with OfflineMissions(tmp_path / str(number), MAKE, wrong) as shelf:
            refused(lambda shelf=shelf: shelf.import_(file), str(file), SEALED.key_id)
            assert not shelf.list()
    with OfflineMissions(tmp_path / 'good', MAKE, SEALED) as shelf:
        assert shelf.import_(file) == (MISSION, '')
        assert [entry.digest for entry in shelf.show(MISSION)[1].entries] == expected


@pytest.mark.parametrize('source', [PLAIN, SEALED], ids=['plain', 'sealed'])
def test_a_mission_moves_into_a_folder_with_a_key_and_goes_on_there(
        place, tmp_path, source):  # noqa: F811
    model, file = open_model('lfm2-int4'), tmp_path / 'a.lfm'
    with using(source):
        store = open_store(place, model)
        tell(store, MISSION, 'Where?')
        store.archives.export(MISSION, file)
        expected = tell(store, MISSION, 'And now?')
        close(store)
    with using(SEALED):
        there = place.with_name('there')
        store = open_store(there, model)
        store.archives.import_(file)
        assert ('is recomputed' in store.storage.notice) == (source is PLAIN)
        assert bool(store.get(MISSION).pending_sizes) == (source is PLAIN)
        assert tell(store, MISSION, 'And now?') == expected
        hidden = secrets(store)
        close(store)
        assert not leaks(there, hidden)


def test_without_a_key_the_format_is_the_one_before_there_were_keys(place):  # noqa: F811
    model = open_model('lfm2-int4')
    store = MissionStore(model, SYSTEM, RetentionPolicy(), Storage(place, model))
    tell(store, MISSION, 'Where?')
    mission = store.get(MISSION)
    entry = mission.entries[1]
    close(store)
    with closing(sqlite3.connect(place / 'missions.db')) as database:
        *row, seal = database.execute('SELECT * FROM missions').fetchone()
        assert row[0] == MISSION and row[5] == entry.digest
        assert seal == hashlib.sha256(repr(tuple(row)).encode()).hexdigest()
        assert database.execute('SELECT prompt, text, parent, digest, ids FROM entries '
                                'WHERE number = 1').fetchone() == (
            'Where?', entry.text, entry.parent, entry.digest, pack(mission.ids[-entry.tokens:]))
        assert database.execute('PRAGMA user_version').fetchone()[0] == 2
    name = hashlib.sha256(f'{mission.fingerprint} {entry.digest}'.encode()).hexdigest()[:32]
    file, = (file for file in files_in(place) if file.name.startswith(name))
    with safe_open(file, framework='numpy') as opened:
        assert opened.metadata()['format'] == 'lfm_ros state 1'


def test_a_log_in_memory_can_have_a_key_too():
    with closing(MissionLog(':memory:', cipher=SEALED)) as log:
        log.write(transcript('m'))
        assert same(log.read('m'), transcript('m'))
        assert not leaks_in(b''.join(str(row).encode() for row in log.database.iterdump()))


def leaks_in(data):
    return [entry.prompt for entry in transcript('m').entries if entry.prompt.encode() in data]
