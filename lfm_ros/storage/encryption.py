# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Encrypt what is stored, so that only those with the key can read it.

What was said is sealed with ChaCha20-Poly1305, which is fast and takes the same time for all data
also on boards without instructions for AES. What is looked up (names of missions, digests) is
hidden with AES-SIV: the same name always looks the same. Each value is bound to its place: moved
elsewhere, it cannot be opened. A log has keys of its own, see :attr:`StorageCipher.rows`.
"""
from __future__ import annotations

from base64 import b64decode
from base64 import urlsafe_b64decode
from base64 import urlsafe_b64encode
from collections.abc import Iterable
import hashlib
import hmac
import os
from pathlib import Path
import re
from typing import Any
from typing import TypeVar

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.files import open_file
from lfm_ros.process import forbid_core_files
from lfm_ros.storage.permissions import is_ours

KEY = 32  # bytes
BLOCK = 64  # bytes; what is sealed for a log is as long as a multiple of it: "no" as "yes"
# Bytes, random: after 2**32 values, decades of talking, two are the same with odds of 2**-33.
_NONCE = 12
_SHORTEST_NAME = 32  # bytes; shorter ones do not tell how short they are
_END = b'\x80'  # of what is sealed; zeros follow
_MAX_FILE_BYTES = 1000  # bytes

Data = TypeVar('Data', str, bytes)


class Damaged(Exception):
    """Something is not what was written, or belongs to something else."""


class StorageCipher:
    """
    Without a key: everything is written as it is.

    :ivar key_id: tells keys apart, and nothing of the key; empty: there is none.
    """

    key_id = ''

    @property
    def rows(self) -> StorageCipher:
        """
        Return the cipher of the rows of a log that is chained.

        It has other keys: rows from before logs were chained cannot pass for its rows, nor can
        a log that lost its chain pass for one from before. Names are hidden by both alike.
        """
        return self

    def seal(self, data: Data, place: str) -> Data | bytes:
        """
        Return data as they are to be written.

        :param place: where they belong; needed to open them.
        """
        return data

    def open(self, data: Any, place: str, kind: type[Data]) -> Data:
        """
        Return what was sealed.

        :param kind: what it was, str or bytes.
        :raises Damaged: when it is not what was written with this key at this place.
        """
        return data

    def encrypt_name(self, name: str) -> str:
        """Return how a name is written: letters, digits, - and _ if there is a key."""
        return name

    def decrypt_name(self, name: str) -> str:
        """
        Return the name that was hidden.

        :raises Damaged: when it is none, or was hidden with another key.
        """
        return name

    def digest(self, data: bytes) -> str:
        """Return a digest of 64 hex digits that only those can compute who have the key."""
        return hashlib.sha256(data).hexdigest()

    def named(self, file: str) -> str:
        """Return the name of a file that tells which key it needs."""
        stem, ending = os.path.splitext(file)
        return f'{stem}-{self.key_id}{ending}' if self.key_id else file

    def check(self, names: Iterable[str], file: str, place: Path) -> None:
        """
        Refuse a place in which something was written with another key, or with none.

        :param names: of the files in it; ``file``: the name of one without a key.
        :raises LfmError: KEY_INVALID.
        """
        stem, ending = map(re.escape, os.path.splitext(file))
        for name in names:
            found = re.match(f'{stem}(?:-([0-9a-f]{{16}}))?{ending}', name)
            if not found or found[0] == self.named(file):
                continue
            if not found[1]:
                raise _invalid(f'{place} is not encrypted, but a key is set: leave '
                               'missions.key_file empty, or export the missions and import them '
                               'with the key in another folder')
            theirs = f'{place} is encrypted with the key {found[1]}'
            raise _invalid(f'{theirs}, but missions.key_file has the key {self.key_id}: set it to '
                           'the file with the right one' if self.key_id else
                           f'{theirs}: set missions.key_file to the file with it')


class AeadCipher(StorageCipher):
    """
    With a key: what is written is sealed and hidden.

    :param key: :data:`KEY` random bytes.
    :raises LfmError: KEY_INVALID when the library is missing.
    """

    def __init__(self, key: bytes) -> None:
        try:  # here, so that it is needed with a key only
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESSIV
            from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            raise _invalid(f'missions cannot be encrypted without the Python package cryptography '
                           f'({error}): install it, or leave missions.key_file empty') from error

        def derive(use: str, kind: str = 'sha256') -> bytes:
            return hmac.digest(key, f'lfm_ros 1 {use}'.encode(), kind)

        self.key_id = derive('id').hex()[:16]
        self._sealing = ChaCha20Poly1305(derive('seal'))
        self._hiding = AESSIV(derive('hide', 'sha512'))
        self._digests = derive('digest')
        self._failures = InvalidTag, TypeError, ValueError

        def derive_row_key(use: str) -> bytes:
            return HKDF(SHA256(), KEY, None, f'lfm_ros 2 {use} of rows'.encode()).derive(key)

        self._rows: AeadCipher = _RowCipher(self, ChaCha20Poly1305(derive_row_key('seal')),
                                            derive_row_key('digest'))

    @property
    def rows(self) -> StorageCipher:
        """Return the cipher of the rows of a chained log; see :attr:`StorageCipher.rows`."""
        return self._rows

    def seal(self, data: Data, place: str) -> Data | bytes:
        """Return data as they are to be written; see :meth:`StorageCipher.seal`."""
        nonce, plain = os.urandom(_NONCE), data.encode() if isinstance(data, str) else data
        return nonce + self._sealing.encrypt(nonce, plain, place.encode())

    def open(self, data: Any, place: str, kind: type[Data]) -> Data:
        """Return what was sealed; see :meth:`StorageCipher.open`."""
        try:
            plain: Any = self._sealing.decrypt(
                data[:_NONCE], memoryview(data)[_NONCE:], place.encode())
            return plain.decode() if kind is str else plain
        except self._failures as error:
            raise Damaged('it is not what was written there with this key') from error

    def encrypt_name(self, name: str) -> str:
        """Return how a name is written; see :meth:`StorageCipher.encrypt_name`."""
        sealed = self._hiding.encrypt(name.encode().ljust(_SHORTEST_NAME, b'\0'), None)
        return urlsafe_b64encode(sealed).rstrip(b'=').decode()

    def decrypt_name(self, name: str) -> str:
        """Return the name that was hidden; see :meth:`StorageCipher.decrypt_name`."""
        try:
            sealed = urlsafe_b64decode(f'{name}===')
            found = self._hiding.decrypt(sealed, None).rstrip(b'\0').decode()
        except self._failures as error:
            raise Damaged('a name is not what was written with this key') from error
        if self.encrypt_name(found) != name:  # Base64 has several ways to write the same
            raise Damaged('a name is damaged')
        return found

    def digest(self, data: bytes) -> str:
        """Return a digest that needs the key; see :meth:`StorageCipher.digest`."""
        return hmac.digest(self._digests, data, 'sha256').hex()


class _RowCipher(AeadCipher):
    """What a cipher is for the rows of a log; it does not tell exact lengths."""

    def __init__(self, cipher: AeadCipher, sealing: Any, digests: bytes) -> None:
        self.key_id = cipher.key_id
        self._hiding = cipher._hiding
        self._failures = cipher._failures
        self._sealing = sealing
        self._digests = digests
        self._rows = self

    def seal(self, data: Data, place: str) -> Data | bytes:
        """Return data as they are to be written; see :meth:`StorageCipher.seal`."""
        plain = (data.encode() if isinstance(data, str) else data) + _END
        return super().seal(plain + bytes(-len(plain) % BLOCK), place)

    def open(self, data: Any, place: str, kind: type[Data]) -> Data:
        """Return what was sealed; see :meth:`StorageCipher.open`."""
        plain: Any = super().open(data, place, bytes).rstrip(b'\0').removesuffix(_END)
        return plain.decode() if kind is str else plain  # what is authentic is UTF-8


def open_cipher(key_file: str) -> StorageCipher:
    """
    Return the cipher of a key; from then on a crash leaves no core file, which would tell it all.

    :param key_file: with 32 random bytes in base64, readable by its owner only; empty: no key.
    :raises LfmError: KEY_INVALID.
    """
    if not key_file:
        return StorageCipher()
    forbid_core_files()
    try:
        path = Path(key_file).expanduser()
        with open(open_file(path, follow=True), 'rb') as file:
            found = os.fstat(file.fileno())
            if not is_ours(found):  # whoever owns it knows the key, and can change it
                raise ValueError(f'it belongs to the user {found.st_uid}, chown {os.geteuid()} '
                                 f'{path} makes it yours')
            # Whom the missions are to be kept from could read the key, and warnings go unread.
            if found.st_mode & 0o077:
                raise ValueError(f'others may read it, chmod 600 {path} keeps it private')
            text = file.read(_MAX_FILE_BYTES)
        key = b64decode(text.strip(), validate=True)
        if len(key) != KEY:
            raise ValueError(f'it has {len(key)} bytes instead of {KEY}')
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, 'strerror', '') or str(error)
        raise _invalid(f'the key in {key_file} cannot be used ({reason}): set missions.key_file '
                       'to a file that openssl rand -base64 32 made, readable by its owner '
                       'only') from error
    return AeadCipher(key)


def _invalid(message: str) -> LfmError:
    return LfmError(ErrorCode.KEY_INVALID, message)
