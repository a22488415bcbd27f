# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Options of verbs that use a folder of missions."""
from __future__ import annotations

import argparse
import os
from pathlib import Path

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.encryption import open_cipher
from lfm_ros.storage.encryption import StorageCipher

KEY_HELP = 'encryption key file, as missions.key_file of the node; default: no encryption'


def missions_folder(arguments: argparse.Namespace) -> Path | None:
    """Return the folder that --missions-dir names, None when it is not given."""
    if arguments.missions_dir is None:
        return None
    if not arguments.missions_dir.strip() or '\0' in arguments.missions_dir:
        raise LfmError(ErrorCode.INVALID_VALUE, '--missions-dir is empty: give a folder, or leave '
                       'it out')
    return Path(os.path.expanduser(arguments.missions_dir))


def cipher_of(arguments: argparse.Namespace) -> StorageCipher:
    """Return what --key-file gives the key to."""
    if arguments.key_file is not None and not arguments.key_file.strip():
        raise LfmError(ErrorCode.INVALID_VALUE, '--key-file is empty: give a file, or leave it '
                       'out')
    return open_cipher(arguments.key_file or '')
