# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A file of the log that is damaged stops nothing: what is good of it comes back."""
import itertools
import os
import random
import shutil
import sqlite3

from cipher_support import module_cipher as cipher  # noqa: F401
from lfm_ros.storage import log_recovery as recover
from lfm_ros.storage.sqlite_pages import check_file
from lfm_ros.storage.sqlite_pages import PAGE
from lfm_ros.storage.sqlite_pages import rows_of
from log_support import filled
from log_support import is_beginning
from log_support import NAME
from log_support import Opened
from log_support import quick_folder
from log_support import same
from log_support import transcript
import pytest

MISSIONS = {'m': 24, 'other': 9, 'ü': 3}
WAL = f'{NAME}-wal'
NUMBERS = itertools.count()


@pytest.fixture(scope='module')
def closed(cipher):  # noqa: F811
    """Return a folder as a node leaves it, and what is in it."""
    with quick_folder() as place:
        yield place / 'closed', filled(place / 'closed', **MISSIONS)


@pytest.fixture(scope='module')
def killed(cipher):  # noqa: F811
    """Return a folder as a node leaves it that is killed, and what is in it."""
    with quick_folder() as place:
        yield place / 'killed', filled(place / 'killed', killed=True, **MISSIONS)


def entries(missions):
    return sum(len(each.entries) for each in missions.values())


def copy_of(folder):
    """Copy a folder to another place."""
    target = folder.with_name(f'{folder.name}-{next(NUMBERS)}')
    shutil.copytree(folder, target)
    return target


def spoil(folder, name, change):
    """Change the bytes of a file."""
    data = bytearray((folder / name).read_bytes())
    (folder / name).write_bytes(change(data) or data)


def check(folder, told, must_tell=True):
    """Open a damaged folder, check that it is mended for good, return how many entries came."""
    before = sum(len(file.read_bytes()) for file in folder.iterdir())
    with Opened(folder) as opened:
        found = opened.prefill_all()
        assert set(found) <= set(told)
        for name, each in found.items():
            assert is_beginning(each, told[name])
        lost = entries(found) < entries(told)
        assert opened.notes or not (lost and must_tell)
        kept = [file for file in folder.iterdir() if '.damaged-' in file.name]
        if kept and before:
            assert any(kept[0].name[:len(NAME) + 20] in note for note in opened.notes)
        new = transcript('new', 4)
        opened.log.write(new, 99.0)
        assert not opened.log.durability_error
        for name, each in found.items():
            each = each if each.entries else transcript(name, 1)  # as the store does
            opened.log.write(each, 99.0)
            assert each.logged == len(each.entries)
    with Opened(folder) as opened:
        again = opened.prefill_all()
        assert not opened.notes
        assert same(again.pop('new'), new)
        assert {name: max(1, len(each.entries)) for name, each in found.items()} == \
            {name: len(each.entries) for name, each in again.items()}
    return entries(found)


@pytest.mark.parametrize('kind', ['closed', 'killed'])
def test_a_whole_file_is_read_without_sqlite_as_with_it(request, kind, cipher):  # noqa: F811
    folder, told = request.getfixturevalue(kind)
    check_file(folder / NAME)
    numbers = {(row[1], row[2]) for _, row in rows_of(folder / NAME) if len(row) == 15}
    assert numbers == {(cipher.encrypt_name(name), number) for name, each in told.items()
                       for number in range(len(each.entries))}
    with Opened(copy_of(folder)) as opened:
        assert not opened.notes
        assert all(same(found, told[name]) for name, found in opened.prefill_all().items())


def test_random_bytes_over_any_page_take_only_what_was_there(closed):
    source, told = closed
    chance = random.Random(0)
    pages = (source / NAME).stat().st_size // PAGE
    for page in range(pages):
        folder = copy_of(source)
        spoil(folder, NAME, lambda data: data[:page * PAGE] + chance.randbytes(PAGE)
              + data[(page + 1) * PAGE:])
        came = check(folder, told)
        # A page has a few entries; one that is missing takes what follows it in its mission.
        assert came >= 9 + 3 or page > 2, page
        shutil.rmtree(folder)


@pytest.mark.parametrize('kind', ['closed', 'killed'])
@pytest.mark.parametrize('seed', range(4))
def test_single_bytes_anywhere(request, kind, seed, cipher):  # noqa: F811
    source, told = request.getfixturevalue(kind)
    chance = random.Random(seed)
    for _ in range(12):
        folder = copy_of(source)
        for _ in range(chance.choice([1, 1, 1, 9, 300])):
            name = chance.choice([n for n in (NAME, WAL) if (folder / n).exists()])
            place = chance.randrange((folder / name).stat().st_size)

            def change(data, place=place):
                data[place] ^= 1 << chance.randrange(8)
            spoil(folder, name, change)
        check(folder, told)
        shutil.rmtree(folder)


def test_any_byte_of_the_header(closed):
    source, told = closed
    for place in range(100):
        for value in (0, 0x7f):
            folder = copy_of(source)
            spoil(folder, NAME, lambda data: data.__setitem__(place, value))
            assert check(folder, told) == entries(told), (place, value)
            shutil.rmtree(folder)


@pytest.mark.parametrize('seed', range(3))
def test_a_file_that_is_cut_anywhere(closed, seed):
    source, told = closed
    size = (source / NAME).stat().st_size
    for at in (0, 1, 99, 100, PAGE, size - 1, *random.Random(seed).choices(range(size), k=8)):
        folder = copy_of(source)
        spoil(folder, NAME, lambda data: data[:at])
        check(folder, told, must_tell=at > 0)
        shutil.rmtree(folder)


def test_a_file_of_something_else(closed):
    source, told = closed
    for content in (b'\0' * 8192, b'Hello.\n', random.Random(0).randbytes(30000)):
        folder = copy_of(source)
        (folder / NAME).write_bytes(content)
        assert check(folder, told) == 0
        shutil.rmtree(folder)


def test_a_file_that_is_empty_does_not_take_its_wal_along(killed):
    source, told = killed
    folder = copy_of(source)
    (folder / NAME).write_bytes(b'')
    assert check(folder, told) == 0  # the beginnings of all missions were in the file
    assert any('.damaged-' in file.name and file.name.endswith('-wal')
               for file in folder.iterdir())


@pytest.mark.parametrize('seed', range(3))
def test_a_wal_that_is_cut_anywhere_ends_where_it_is_cut(killed, seed):
    source, told = killed
    size = (source / WAL).stat().st_size
    for at in (0, 1, 31, 32, size - 1, *random.Random(seed).choices(range(size), k=8)):
        folder = copy_of(source)
        spoil(folder, WAL, lambda data: data[:at])
        came = check(folder, told, must_tell=False)
        assert came >= 9, at  # what was in the file before
        shutil.rmtree(folder)


def test_what_is_behind_a_damaged_place_in_a_wal_comes_back(killed):
    source, told = killed
    size = (source / WAL).stat().st_size
    for place in (3, 9, 18, 32 + 2, 32 + 24 + 1000, size // 2):
        folder = copy_of(source)

        def change(data, place=place):
            data[place] ^= 255
        spoil(folder, WAL, change)
        with pytest.raises(sqlite3.DatabaseError):
            check_file(folder / NAME)
        came = check(folder, told)
        # A page may take what follows it in its mission, which has most of the entries.
        assert came >= entries(told) - 20 if place > 32 else entries(told), place
        shutil.rmtree(folder)


@pytest.mark.parametrize('call', range(1, 9))
@pytest.mark.parametrize('name', ['rename', 'fsync'])
def test_mending_that_is_interrupted_anywhere_is_done_the_next_time(
        killed, monkeypatch, name, call):
    source, told = killed
    folder = copy_of(source)
    spoil(folder, NAME, lambda data: b'x' + data[1:])
    real, left = getattr(os, name), [call]

    def fail(*arguments):
        left[0] -= 1
        if left[0] <= 0:
            raise KeyboardInterrupt  # the power fails
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(recover.os, name, fail)
        try:
            Opened(folder).log.close()
        except KeyboardInterrupt:
            pass
    assert left[0] <= 0 or call > 2
    with Opened(folder) as opened:
        assert all(same(found, told[name]) for name, found in opened.prefill_all().items())
        assert len(opened.prefill_all()) == len(told)
    with Opened(folder) as opened:
        assert not opened.notes


def test_a_log_that_is_damaged_while_it_is_used_is_mended_and_written_again(
        tmp_path, cipher):  # noqa: F811
    told = filled(tmp_path / 'log', **MISSIONS)
    with Opened(tmp_path / 'log') as opened:
        database = opened.log.log.database
        database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        database.execute('PRAGMA cache_size = 0')
        spoil(tmp_path / 'log', NAME, lambda data: data[:PAGE] + b'\xff' * (len(data) - PAGE))
        opened.log.write(transcript('m', 25), 1.0)
        assert 'not durable' in opened.log.durability_error
        assert opened.log.retry()
        assert opened.notes
        for each in told.values():
            each.logged = 0
            opened.log.write(each, 2.0)
        assert not opened.log.durability_error
    with Opened(tmp_path / 'log') as opened:
        assert all(same(found, told[name]) for name, found in opened.prefill_all().items())
