# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Write down the names that others hold on to, so that a test fails when one changes by accident.

    python test/make_pins.py [--all]

Run it when something public was added on purpose. What is gone or has changed it only tells;
--all writes that down, too. Before you do that, see that programs and parameter files which use
the old name go on, or are told; old files on the disk of a robot must (`test_old_files.py`).
"""
from __future__ import annotations

from pathlib import Path
import sys

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / 'support')]

import pins  # noqa: E402


def main() -> int:
    """Renew all sections; return the exit status."""
    broken = False
    for name, collect in pins.SECTIONS.items():
        if reason := pins.missing(name):
            print(f'{name} stays as it is: {reason}')
            continue
        before, found = pins.pinned(name), collect()
        changes = pins.differences(before, found)
        if not changes:
            continue
        print(pins.report(name, changes if before else {}))
        if before and set(changes.values()) != {pins.NEW} and '--all' not in sys.argv:
            broken = True
        else:
            pins.pin(name, found)
    if broken:
        print('what is gone or has changed was not pinned: see --all', file=sys.stderr)
    return int(broken)


if __name__ == '__main__':
    sys.exit(main())
