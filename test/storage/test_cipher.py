# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is sealed opens with its key at its place, and a key that cannot be used is refused."""
import base64
import os
import stat
import subprocess
import sys

from cipher_support import OTHER
from cipher_support import SEALED
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.encryption import AeadCipher
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import open_cipher
from lfm_ros.storage.encryption import StorageCipher
import pytest
from support import assert_one_line
from support import environment

KEY = base64.b64encode(bytes(range(32)))
NAMES = ['', 'm', 'default', 'ü 😀', 'x' * 128, '0123456789abcdef' * 4]


def key_file(place, content=KEY + b'\n', mode=0o600):
    """Write a key file."""
    file = place / 'key'
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize('data', ['', 'Whöre? 😀\0', b'', b'\0\xff' * 5000], ids=repr)
def test_what_is_sealed_comes_back_with_its_key_at_its_place_and_nowhere_else(data):
    sealed = SEALED.seal(data, 'here')
    assert SEALED.open(sealed, 'here', type(data)) == data
    assert SEALED.seal(data, 'here') != sealed, 'nobody sees that the same was said again'
    assert not data or (data if isinstance(data, bytes) else data.encode()) not in sealed
    for cipher, place in ((SEALED, 'there'), (OTHER, 'here'), (SEALED, '')):
        with pytest.raises(Damaged):
            cipher.open(sealed, place, type(data))


def test_every_flipped_bit_and_every_cut_is_found():
    sealed = SEALED.seal('Go to the dock.', 'here')
    for place in range(len(sealed)):
        for bit in range(8):
            spoiled = bytearray(sealed)
            spoiled[place] ^= 1 << bit
            with pytest.raises(Damaged):
                SEALED.open(bytes(spoiled), 'here', str)
        with pytest.raises(Damaged):
            SEALED.open(sealed[:place], 'here', str)
    for other in ('text', 7, None, 1.5, b'', sealed + b'\0'):
        with pytest.raises(Damaged):
            SEALED.open(other, 'here', str)
    with pytest.raises(Damaged):
        SEALED.open(SEALED.seal(b'\xff\xfe', 'here'), 'here', str)


@pytest.mark.parametrize('name', NAMES)
def test_a_name_is_always_hidden_in_the_same_way_and_comes_back(name):
    hidden = SEALED.encrypt_name(name)
    assert SEALED.encrypt_name(name) == hidden != OTHER.encrypt_name(name)
    assert SEALED.decrypt_name(hidden) == name
    assert set(hidden) <= set(base64.urlsafe_b64encode(bytes(range(256))).decode()) | set('_-')
    for place in range(len(hidden)):
        for letter in ('A', 'B', 'é', '=', '', '\0'):
            if (spoiled := hidden[:place] + letter + hidden[place + 1:]) != hidden:
                with pytest.raises(Damaged):
                    SEALED.decrypt_name(spoiled)
    for other in (OTHER.encrypt_name(name), name, b'x', 7, None):
        with pytest.raises(Damaged):
            SEALED.decrypt_name(other)


def test_hidden_names_and_digests_tell_nothing():
    assert len({SEALED.encrypt_name(name) for name in NAMES}) == len(NAMES)
    assert len(SEALED.encrypt_name('')) == len(
        SEALED.encrypt_name('default')) == len(SEALED.encrypt_name('x' * 32))
    head = b'a head that can be guessed'
    assert SEALED.digest(head) not in (StorageCipher().digest(head), OTHER.digest(head))
    assert SEALED.key_id != OTHER.key_id and b'k' * 8 not in bytes.fromhex(SEALED.key_id)


def test_without_a_key_all_is_as_it_was():
    cipher = open_cipher('')
    assert type(cipher) is StorageCipher
    for data in ('text', b'bytes'):
        assert cipher.open(cipher.seal(data, 'here'), 'there', type(data)) is data
    assert cipher.decrypt_name(cipher.encrypt_name(
        'name')) == cipher.encrypt_name('name') == 'name'
    assert cipher.named('missions.db') == 'missions.db'


def test_a_key_as_openssl_makes_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    file = key_file(tmp_path)
    first = open_cipher(str(file))
    for content in (KEY, KEY + b'\r\n'):
        again = open_cipher(str(key_file(tmp_path, content)))
        assert again.open(first.seal('text', 'here'), 'here', str) == 'text'
        assert again.key_id == first.key_id and again.encrypt_name('m') == first.encrypt_name('m')
    assert open_cipher('~/key').key_id == AeadCipher(bytes(range(32))).key_id
    file.chmod(0o400)
    open_cipher(str(file))


@pytest.mark.parametrize('content', [
    b'', b'\n', KEY[:-4], KEY + KEY, base64.b64encode(bytes(31)), base64.b64encode(bytes(33)),
    bytes(range(32)).hex().encode(), bytes(range(32)), KEY.replace(b'A', b'!'), b'x' * 5000])
def test_a_file_that_holds_no_key_is_refused(tmp_path, content):
    refused(key_file(tmp_path, content))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / 'folder').mkdir()
    os.mkfifo(tmp_path / 'pipe')
    for name in ('nothing', 'folder', 'pipe', 'nothing/x', 'x' * 300):
        refused(tmp_path / name)
    refused('~nobody-of-this-name/key')
    refused('x\0', said=r'x\x00')


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_may_read_is_refused_with_what_to_do(tmp_path, mode):
    file = key_file(tmp_path, mode=mode)
    assert f'chmod 600 {file}' in refused(file)
    assert stat.S_IMODE(file.stat().st_mode) == mode


def refused(file, said=''):
    """Check that a key file is refused; return the sentence. ``said``: how it names the file."""
    with pytest.raises(LfmError) as raised:
        open_cipher(str(file))
    assert raised.value.code == ErrorCode.KEY_INVALID
    assert_one_line(raised.value.message, said or str(file), 'missions.key_file', 'openssl rand')
    return raised.value.message


def test_the_library_is_only_needed_with_a_key_and_its_absence_is_one_sentence(
        tmp_path, monkeypatch):
    done = subprocess.run(
        [sys.executable, '-c', 'import sys, lfm_ros.cli.main; '
         'import lfm_ros.storage.encryption as encryption; '
         'encryption.open_cipher(""); sys.exit("cryptography" in sys.modules)'], env=environment())
    assert done.returncode == 0
    monkeypatch.setitem(sys.modules, 'cryptography.hazmat.primitives.ciphers.aead', None)
    with pytest.raises(LfmError) as raised:
        open_cipher(str(key_file(tmp_path)))
    assert raised.value.code == ErrorCode.KEY_INVALID
    assert_one_line(raised.value.message, 'cryptography', 'install it', 'missions.key_file')
