# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The version of this package."""
from __future__ import annotations

from importlib import metadata
from pathlib import Path
import xml.etree.ElementTree as ElementTree

PACKAGE = 'lfm_ros'


def version() -> str:
    """Return the version of this package; empty where nothing tells it."""
    source = Path(__file__).resolve().parents[2] / 'package.xml'
    try:
        if source.is_file():  # this file is run from the source tree
            return ElementTree.parse(source).getroot().findtext('version') or ''
        return metadata.version(PACKAGE)
    except (OSError, ElementTree.ParseError, metadata.PackageNotFoundError):
        return ''
