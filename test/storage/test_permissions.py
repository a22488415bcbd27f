# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders and keys that others may change."""
import base64
import os
import stat
from tempfile import NamedTemporaryFile

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.encryption import open_cipher
from lfm_ros.storage.offline import CHANGE
from lfm_ros.storage.offline import OfflineMissions
from lfm_ros.storage.offline import READ
from lfm_ros.storage.storage import Storage
from log_support import filled
import pytest
from support import assert_one_line
from support import open_model

OTHER = 12345  # a user
PLACES = {'the folder': '', 'the log': 'missions.db', 'the states': 'states',
          'an archive': 'exports/a.lfm', 'something else': 'notes'}


def can_give_away():
    """Tell whether files can be given to another user; root of a namespace may not."""
    with NamedTemporaryFile() as file:
        try:
            os.chown(file.name, OTHER, -1)
        except OSError:
            return False
    return True


root_only = pytest.mark.skipif(not can_give_away(), reason='only root can give files away')


@pytest.fixture
def place(tmp_path):
    """Return a folder of missions in which only its owner may write."""
    found = tmp_path / 'place'
    filled(found, a=4)
    for name in ('states', 'exports'):
        (found / name).mkdir(mode=0o700)
    for name in ('exports/a.lfm', 'notes'):
        (found / name).write_text('x')
        (found / name).chmod(0o644)
    found.chmod(0o755)
    return found


def open_strictly(place):
    """Open a folder as a node does with missions.strict_permissions."""
    Storage(place, open_model('lfm2-int4'), strict=True).close()


def test_a_folder_that_others_may_only_read_gives_no_warning(place, caplog):
    open_strictly(place)
    for purpose in (READ, CHANGE):
        with OfflineMissions(place, purpose):
            pass
    assert not caplog.text


@pytest.mark.parametrize('what', PLACES)
@pytest.mark.parametrize('bits', [stat.S_IWGRP, stat.S_IWOTH])
def test_what_others_may_write_to_is_a_warning_with_its_mode_or_refused(
        place, caplog, what, bits):
    path = place / PLACES[what]
    path.chmod(stat.S_IMODE(path.stat().st_mode) | bits)
    mode = f'{stat.S_IMODE(path.stat().st_mode):04o}'
    for work in (lambda: Storage(place, open_model('lfm2-int4')).close(),
                 lambda: OfflineMissions(place, READ).__exit__(),
                 lambda: OfflineMissions(place, CHANGE).__exit__()):
        caplog.clear()
        work()
        assert len(caplog.records) == 1
        assert_one_line(caplog.records[0].getMessage(), 'may write', mode, str(path), 'chmod')
    with pytest.raises(LfmError) as raised:
        open_strictly(place)
    assert raised.value.code == ErrorCode.STORAGE_FAILED
    assert_one_line(raised.value.message, mode, str(path), 'missions.strict_permissions')
    assert not (place / 'lock').exists(), 'nothing was done there'


@root_only
@pytest.mark.parametrize('what', PLACES)
def test_what_another_user_owns_is_a_warning_or_refused(place, caplog, what):
    os.chown(place / PLACES[what], OTHER, -1)
    Storage(place, open_model('lfm2-int4')).close()
    assert_one_line(caplog.records[0].getMessage(), f'belongs to the user {OTHER}', 'chown')
    with pytest.raises(LfmError) as raised:
        open_strictly(place)
    assert_one_line(raised.value.message, f'belongs to the user {OTHER}')


def test_the_folder_behind_a_link_counts(place, tmp_path, caplog):
    place.chmod(0o777)
    (tmp_path / 'link').symlink_to(place)
    Storage(tmp_path / 'link', open_model('lfm2-int4')).close()
    assert 'mode 0777' in caplog.text


@root_only
def test_a_key_of_another_user_is_refused(tmp_path):
    key = tmp_path / 'key'
    key.write_bytes(base64.b64encode(bytes(range(32))))
    key.chmod(0o600)
    assert open_cipher(str(key)).key_id
    os.chown(key, OTHER, -1)
    with pytest.raises(LfmError) as raised:
        open_cipher(str(key))
    assert raised.value.code == ErrorCode.KEY_INVALID
    assert_one_line(raised.value.message, f'belongs to the user {OTHER}', 'chown')


def test_a_key_may_be_reached_through_a_link(tmp_path):
    (tmp_path / 'key').write_bytes(base64.b64encode(bytes(range(32))))
    (tmp_path / 'key').chmod(0o600)
    (tmp_path / 'link').symlink_to('key')
    assert open_cipher(str(tmp_path / 'link')).key_id == open_cipher(str(tmp_path / 'key')).key_id
