# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The work of `lfm replay`: one recording after the other, with what was done before."""
from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
import shutil
import sys
from typing import Any

from lfm_ros.cli.inputs import given_text
from lfm_ros.cli.inputs import JSON
from lfm_ros.cli.inputs import text_or_file
from lfm_ros.cli.option_names import with_option_names
from lfm_ros.cli.options import open_model
from lfm_ros.cli.options import sampling_of
from lfm_ros.cli.options import scheduler_of
from lfm_ros.cli.output import print_error
from lfm_ros.cli.output import print_json
from lfm_ros.cli.replay.report import print_report
from lfm_ros.cli.replay.report import summary_of
from lfm_ros.engine.model import Model
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.errors import LfmError
from lfm_ros.replay.bag import Bag
from lfm_ros.replay.camera_recording import CameraRecording
from lfm_ros.replay.comparison import DIFFERENT
from lfm_ros.replay.comparison import FAILED
from lfm_ros.replay.events import Recording
from lfm_ros.replay.node_recording import NodeRecording
from lfm_ros.replay.result_file import ResultFile
from lfm_ros.replay.runner import Runner
from lfm_ros.serving.query import Query

_OPTIONS = ('variant', 'provider', 'context', 'image_tokens', 'no_tiling', 'system', 'overflow',
            'max_tokens', 'node', 'topic', 'every')


def replay(arguments: argparse.Namespace) -> int:
    """Ask, and report; return the exit status."""
    arguments.ask = given_text(arguments.ask)
    if arguments.schema:
        arguments.schema = text_or_file(arguments.schema, '--schema', JSON)
    recordings = {_name(path): _recording(path, arguments) for path in arguments.bags}
    model = open_model(arguments)
    with ResultFile(arguments.out, _run_name(model, arguments)) as results:
        with _progress(sum(r.count for r in recordings.values())) as bar:
            try:
                for name, recording in recordings.items():
                    _replay_one(name, recording, model, arguments, results, bar)
            except KeyboardInterrupt:
                if arguments.out:
                    print_error(arguments.prog, f'stopped after {len(results.lines)} questions: '
                                'give the same command again to go on')
                raise
    for notice in (n for recording in recordings.values() for n in recording.notices):
        print_error(arguments.prog, notice)
    summary = summary_of(list(recordings), results.lines)
    if arguments.json:
        print_json(summary)
    else:
        print_report(summary, results.lines)
    return int(any(bag[DIFFERENT] or bag[FAILED] for bag in summary['bags']))


def _replay_one(name: str, recording: Recording, model: Model, arguments: argparse.Namespace,
                results: ResultFile, bar: Any) -> None:
    """Ask what is left of one recording."""
    done = results.of(name)
    bar.update(len(done))
    if len(done) >= recording.count:
        return
    # The missions outlive this process, so that another one can go on with them.
    folder = arguments.out.with_name(f'{arguments.out.name}.missions') if arguments.out else None
    if folder and not done:
        shutil.rmtree(folder, ignore_errors=True)  # those of another recording
    with scheduler_of(model, arguments, folder) as scheduler:
        runner = Runner(scheduler, recording, arguments.timeout, done)
        for result in runner.results():
            results.append({'bag': name, **result})
            bar.update()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    if runner.observations_lost:
        print_error(arguments.prog, f'{runner.observations_lost} observations of {name} could not '
                    'be added to their missions: see whether they need a vision model')


def _recording(path: Path, arguments: argparse.Namespace) -> Recording:
    bag = Bag(path)
    if not arguments.topic:
        return NodeRecording(bag, arguments.node)
    response_format = ResponseFormat(arguments.schema)
    query = Query(arguments.ask, response_format=response_format)
    try:
        query.check()
    except LfmError as error:
        message = with_option_names(error.message, response_format.name)
        raise LfmError(error.code, message) from error
    return CameraRecording(bag, arguments.topic, query, arguments.every)


def _name(path: Path) -> str:
    """Return how results name a recording, from wherever it is given."""
    return str(path.resolve()).encode(errors='replace').decode()


def _run_name(model: Model, arguments: argparse.Namespace) -> str:
    """Return what results of the same model and options have in common."""
    parts = [model.folder.fingerprint, sampling_of(arguments), arguments.ask, arguments.schema,
             *(getattr(arguments, name) for name in _OPTIONS)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _progress(total: int) -> Any:
    """Return a bar for questions, shown on a terminal only."""
    from tqdm import tqdm
    return tqdm(total=total, unit='question', disable=not sys.stderr.isatty(), leave=False)
