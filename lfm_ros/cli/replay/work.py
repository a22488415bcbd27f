# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The work of `lfm replay`: one recording after the other, with what was done before."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
import shutil
import sys
from typing import Any

from lfm_ros.cli.inputs import given_text
from lfm_ros.cli.inputs import JSON
from lfm_ros.cli.inputs import text_or_file
from lfm_ros.cli.output import print_error
from lfm_ros.cli.output import print_json
from lfm_ros.cli.replay.report import print_report
from lfm_ros.cli.replay.report import summary_of
from lfm_ros.cli.replay.worker import recording_of
from lfm_ros.cli.replay.worker import Worker
from lfm_ros.replay.comparison import DIFFERENT
from lfm_ros.replay.comparison import FAILED
from lfm_ros.replay.events import Recording
from lfm_ros.replay.result_file import ResultFile

Result = tuple[str, dict[str, Any]]  # with the name of its recording


def replay(arguments: argparse.Namespace) -> int:
    """Ask, and report; return the exit status."""
    arguments.ask = given_text(arguments.ask)
    if arguments.schema:
        arguments.schema = text_or_file(arguments.schema, '--schema', JSON)
    recordings = {_name(path): recording_of(path, arguments) for path in arguments.bags}
    if arguments.ray:
        from lfm_ros.cli.replay.cluster import Cluster
        # Ray prints that a worker died to stdout, which is for the results.
        with redirect_stdout(sys.stderr), Cluster(arguments) as cluster:
            lines = _work(cluster.run, cluster.results, recordings, arguments)
    else:
        worker = Worker(arguments)
        lines = _work(worker.run, lambda left, kept: _one_by_one(worker, left, kept),
                      recordings, arguments)
    for notice in (n for recording in recordings.values() for n in recording.notices):
        print_error(arguments.prog, notice)
    summary = summary_of(list(recordings), lines)
    if arguments.json:
        print_json(summary)
    else:
        print_report(summary, lines)
    return int(any(bag[DIFFERENT] or bag[FAILED] for bag in summary['bags']))


def _work(run: str, results: Any, recordings: Mapping[str, Recording],
          arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """
    Do what is left, and return all results.

    :param results: gives those that are left, of the recordings and the results that there are.
    """
    with ResultFile(arguments.out, run) as kept:
        left = {name: recording for name, recording in recordings.items()
                if len(kept.of(name)) < recording.count}
        with _progress(sum(r.count for r in recordings.values()), len(kept.lines)) as bar:
            try:
                for name, result in results(left, kept):
                    kept.append({'bag': name, **result})
                    bar.update()
            except KeyboardInterrupt:
                if arguments.out:
                    print_error(arguments.prog, f'stopped after {len(kept.lines)} questions: '
                                'give the same command again to go on')
                raise
        return kept.lines


def _one_by_one(worker: Worker, left: Mapping[str, Recording], kept: ResultFile
                ) -> Iterator[Result]:
    # The missions outlive this process, so that another one can go on with them.
    folder = kept.path.with_name(f'{kept.path.name}.missions') if kept.path else None
    for name, recording in left.items():
        done = kept.of(name)
        if folder and not done:
            shutil.rmtree(folder, ignore_errors=True)  # those of another recording
        for result in worker.results(recording, done, folder):
            yield name, result
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _name(path: Path) -> str:
    """Return how results name a recording, from wherever it is given."""
    return str(path.resolve()).encode(errors='replace').decode()


def _progress(total: int, done: int) -> Any:
    """Return a bar for questions, shown on a terminal only."""
    from tqdm import tqdm
    return tqdm(total=total, initial=done, unit='question', disable=not sys.stderr.isatty(),
                leave=False)
