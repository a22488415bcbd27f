# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write checkpoints in a thread beside that of the model."""
from __future__ import annotations

from collections.abc import Callable
import queue
import threading

from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.checkpoints import Snapshot


class CheckpointWriter:
    """
    Writes snapshots in a thread of its own, one after the other.

    :param done: called in that thread after each one, with the error if there was one.
    """

    def __init__(self, checkpoints: Checkpoints, done: Callable[[OSError | None], None]) -> None:
        self._checkpoints = checkpoints
        self._done = done
        self._waiting: queue.Queue[Snapshot | None] = queue.Queue()
        self._thread = threading.Thread(target=self._loop, name='lfm_saver', daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Return whether something is not yet written."""
        return self._waiting.unfinished_tasks > 0

    def submit(self, snapshot: Snapshot) -> None:
        """Have a snapshot written; returns at once."""
        self._waiting.put(snapshot)

    def flush(self) -> None:
        """Wait until all that was submitted is written: its buffers may change again."""
        self._waiting.join()

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (snapshot := self._waiting.get()) is not None:
            failure = None
            try:
                self._checkpoints.write(snapshot)
            except OSError as error:
                failure = error
            except Exception as error:  # of the library that packs the arrays
                failure = OSError(0, f'{type(error).__name__}: {error}')
            finally:
                del snapshot  # or its buffers would stay until the next one
                self._done(failure)
                self._waiting.task_done()
        self._waiting.task_done()
