# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings on the machines of a Ray cluster; the one module that needs ray."""
from __future__ import annotations

import argparse
from collections import Counter
from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
import os
from pathlib import Path
from typing import Any

from lfm_ros.cli.replay.worker import recording_of
from lfm_ros.cli.replay.worker import Worker
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
from lfm_ros.replay.events import Recording
from lfm_ros.replay.result_file import ResultFile

# Ray would tell its makers of every cluster that it starts.
os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
import ray  # noqa: E402, I100

_MAX_DEATHS = 3  # of workers, while they had the same recording


class _RemoteWorker:
    """A worker in a process of Ray."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._worker: Worker | None = None

    def run(self) -> Any:
        """Open the model; return what names it and the options, or an error."""
        try:
            self._worker = self._worker or Worker(self._arguments)
            return self._worker.run
        except LfmError as error:
            return int(error.code), error.message

    def results(self, path: str, done: list[dict[str, Any]]) -> Iterator[Any]:
        """Yield results, and an error if there is one."""
        try:
            assert self._worker or self.run()
            assert self._worker
            yield from self._worker.results(recording_of(Path(path), self._arguments), done)
        except LfmError as error:
            yield int(error.code), error.message


class Cluster:
    """
    Workers on a cluster of Ray; each opens the model once. A context manager.

    Results come to this process, which alone writes them. When a worker dies, another one gets
    its recording with the results that came: it asks again what the missions need, and goes on.

    :ivar run: names the model and the options.
    :raises LfmError: what a worker raises; UNSUPPORTED, when there is no cluster.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        given = {name: value for name, value in vars(arguments).items() if name != 'run'}
        model = Path(arguments.model)
        if model.exists():  # a worker may be in another folder
            given['model'] = str(model.resolve())
        self._arguments = argparse.Namespace(**given)
        try:
            ray.init(address=arguments.ray, log_to_driver=False, logging_level='error')
        except Exception as error:  # of Ray, of whatever kind
            raise LfmError(ErrorCode.UNSUPPORTED, f'there is no Ray cluster at {arguments.ray} '
                           f"({quote(error)}): run 'ray start --head' there, or give --ray local"
                           ) from error
        try:
            machines = sum(node['Alive'] for node in ray.nodes())
            count = arguments.ray_workers or machines
            self._workers = [self._start() for _ in range(min(count, len(arguments.bags)))]
            runs = {_checked(ray.get(worker.run.remote())) for worker in self._workers}
            if len(runs) > 1:
                raise LfmError(ErrorCode.INVALID_VALUE, 'MODEL is not the same on all machines of '
                               'the cluster: copy it to all of them')
            self.run, = runs
        except BaseException:
            ray.shutdown()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()

    def results(self, left: Mapping[str, Recording], kept: ResultFile
                ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the results that are left, as they come from the workers."""
        waiting, deaths = deque(left), Counter[str]()
        idle, running = list(self._workers), dict[Any, tuple[str, Any]]()
        while waiting or running:
            while idle and waiting:
                name, worker = waiting.popleft(), idle.pop()
                running[worker.results.options(num_returns='streaming').remote(
                    name, kept.of(name))] = name, worker
            (stream,), _ = ray.wait(list(running), num_returns=1)
            name, worker = running[stream]
            try:
                yield name, _checked(ray.get(next(stream)))
            except StopIteration:
                del running[stream]
                idle.append(worker)
            except ray.exceptions.RayActorError as error:
                del running[stream]
                idle.append(self._start())
                waiting.append(name)
                deaths[name] += 1
                if deaths[name] == _MAX_DEATHS:
                    raise LfmError(ErrorCode.INTERNAL, f'{_MAX_DEATHS} workers died while they '
                                   f'had {name}: replay it without --ray to see why') from error

    def _start(self) -> Any:
        """Start a worker, on the machine that has the fewest."""
        remote = ray.remote(num_cpus=0, scheduling_strategy='SPREAD')(_RemoteWorker)
        return remote.remote(self._arguments)


def _checked(found: Any) -> Any:
    """Return what a worker sent, unless that is an error."""
    if isinstance(found, tuple):
        raise LfmError(ErrorCode(found[0]), found[1])
    return found
