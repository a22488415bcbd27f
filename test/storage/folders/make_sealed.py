#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make `sealed/`: a folder for missions that was encrypted before its log was chained.

It only makes that with the code of commit 74e7bad or before: check it out, put this script there
and call it; the folder that it leaves beside itself belongs here.
"""
from __future__ import annotations

import json
from pathlib import Path
import shutil
import sys

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'test' / 'support'), str(ROOT / 'test' / 'models')]

from cipher_support import SEALED  # noqa: E402
from cipher_support import using  # noqa: E402
from storage_support import close  # noqa: E402, I100
from storage_support import open_store  # noqa: E402
from storage_support import tell  # noqa: E402
import vision_support  # noqa: E402


def main() -> None:
    """Make it."""
    folder = HERE / 'sealed'
    shutil.rmtree(folder, ignore_errors=True)
    with using(SEALED):
        store = open_store(folder / 'missions', vision_support.open_model(), checkpoint_turns=2)
        tell(store, 'patrol', 'Where is the dock?')
        store.observe('patrol', 'The battery is at 34 percent.')
        vision_support.answer(store.get('patrol'), 'What is on this picture?',
                              vision_support.image(40, 50))
        store.commit('patrol')
        store.fork('patrol', 'fork')
        tell(store, 'fork', 'Go there.')
        tell(store, 'deleted', 'Never mind.')
        store.delete('deleted')
        told = {name: [[e.kind, e.prompt, e.text, e.digest] for e in store.get(name).entries]
                for name in ('patrol', 'fork')}
        close(store)
        store = open_store(folder / 'missions', vision_support.open_model())
        told['then'] = tell(store, 'fork', 'And now?', 8)
        store.rewind('fork', store.get('fork').turn_count - 1)
        close(store)
    (folder / 'told.json').write_text(json.dumps(told, indent=1) + '\n')


if __name__ == '__main__':
    main()
