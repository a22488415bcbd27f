# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start the node: signals are handled before the imports, which take most of a second."""
from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run :func:`lfm_ros.node.main.main`; until it begins, a signal ends the process at once."""
    # Python's own handler raises in the middle of an import, where the error may get lost: the
    # node would then go on and never end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from lfm_ros.node.main import main as run
    return run()


if __name__ == '__main__':
    sys.exit(main())
