# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The one place where pins and fixtures of old code name what is inside the package.

`test_pins.py` and `test_old_files.py` prove that a change of the code leaves alone what others
hold on to: names, and files. They may not have to be changed with it. So what they need of the
code they get from here, and when a module, a class or a function gets another name or place, this
file follows and nothing else does. What it gives to others keeps its names.
"""
from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import redirect_stderr
from contextlib import redirect_stdout
from dataclasses import asdict
import io
import json
import logging
from pathlib import Path
import sys
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / 'test' / 'models'
sys.path.insert(0, str(ROOT))

from lfm_ros.cli import inspect  # noqa: E402
from lfm_ros.cli import main as cli  # noqa: E402
from lfm_ros.conversation import entry  # noqa: E402
from lfm_ros.conversation.mission import Mission  # noqa: E402
from lfm_ros.conversation.transcript import Transcript  # noqa: E402
from lfm_ros.engine.decoding.generation import CONTEXT  # noqa: E402
from lfm_ros.engine.decoding.generation import LENGTH  # noqa: E402
from lfm_ros.engine.decoding.generation import STOP  # noqa: E402
from lfm_ros.engine.decoding.generation import TOOL_CALLS  # noqa: E402
from lfm_ros.engine.files import folder  # noqa: E402
from lfm_ros.engine.model import Model  # noqa: E402
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402
from lfm_ros.engine.sampling import Sampling  # noqa: E402
from lfm_ros.engine.text.response_format import ResponseFormat  # noqa: E402
from lfm_ros.engine.text.tools import AUTO  # noqa: E402
from lfm_ros.engine.text.tools import NONE  # noqa: E402
from lfm_ros.engine.text.tools import REQUIRED  # noqa: E402
from lfm_ros.engine.text.tools import Tool  # noqa: E402
from lfm_ros.engine.text.tools import ToolResult  # noqa: E402
from lfm_ros.engine.vision.image import EncodedImage  # noqa: E402
from lfm_ros.errors import ErrorCode  # noqa: E402
from lfm_ros.errors import LfmError  # noqa: E402
from lfm_ros.prepare.open_model import open_prepared  # noqa: E402
from lfm_ros.serving.answer import CANCELLED  # noqa: E402
from lfm_ros.serving.answer import ERROR  # noqa: E402
from lfm_ros.serving.answer import TIMEOUT  # noqa: E402
from lfm_ros.serving.mission_store import MissionStore  # noqa: E402
from lfm_ros.serving.query import Query  # noqa: E402
from lfm_ros.serving.query import RequestDefaults  # noqa: E402
from lfm_ros.serving.retention import RetentionPolicy  # noqa: E402
from lfm_ros.serving.scheduler import Scheduler  # noqa: E402
from lfm_ros.storage.encryption import open_cipher  # noqa: E402
from lfm_ros.storage.storage import Storage  # noqa: E402
import numpy as np  # noqa: E402
from waiting import WAIT  # noqa: E402

FINISH_REASONS = (STOP, LENGTH, TOOL_CALLS, CONTEXT, CANCELLED, TIMEOUT, ERROR)
TOOL_CHOICES = (AUTO, NONE, REQUIRED)
ENTRY_KINDS = (entry.HEAD, entry.OBSERVATION, entry.TURN, entry.RESULTS)
ERROR_CODES = {code.name: int(code) for code in ErrorCode}
MODEL_FILES = {
    'variants': {name: list(endings) for name, endings in folder.VARIANT_SUFFIXES.items()},
    'graphs': list(folder.GRAPH_STEMS), 'embeddings': list(folder.EMBEDDING_STEMS),
    'vision encoders': list(folder.VISION_STEMS), 'the model of the package': folder.DEMO}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command `lfm`."""
    return cli.make_parser()


def lfm(*arguments: object) -> tuple[int, str]:
    """Run the command `lfm` in this process; return its exit status and what it printed."""
    output = io.StringIO()
    # It tells in this handler, which is the process's, what the missions log.
    with redirect_stdout(output), redirect_stderr(io.StringIO()), \
            patch.object(logging, 'lastResort', logging.StreamHandler()):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = int(error.code or 0)
    return status, output.getvalue()


def lfm_status(code: int) -> int:
    """Return the exit status of `lfm` when it meets an error with this code."""
    with patch.object(inspect, 'run', side_effect=LfmError(ErrorCode(code), 'no: yes')):
        return lfm('inspect', 'demo')[0]


def new_node(**options: Any) -> Any:
    """Return the node of this package; it needs ROS 2."""
    from lfm_ros.node.lfm_node import LfmNode
    return LfmNode(**options)


def node_facts() -> dict[str, Any]:
    """Return what a node does not tell of itself; it needs ROS 2."""
    from lfm_ros.node.camera import TOPICS
    from lfm_ros.node.lifecycle_bond import TOPIC
    from lfm_ros.node.main import HUNG
    from lfm_ros.node.mission_services import EXPORTS
    from lfm_ros.node.parameter_specs import SPECS
    return {'camera topics': sorted(TOPICS), 'topic of the bond': TOPIC,
            'exit code when the model hangs': HUNG, 'folder of exports': EXPORTS,
            'parameters that change at any time': sorted(s.name for s in SPECS if s.live)}


def takes_encoding(encoding: str) -> bool:
    """Tell whether an image of this encoding can be shown to a model; it needs ROS 2."""
    from lfm_ros.engine.vision.raw_frame import RawFrame
    from sensor_msgs.msg import Image
    try:
        RawFrame(Image(width=2, height=2, step=64, data=bytes(384), encoding=encoding))
    except LfmError:
        return False
    return True


def prepared(height: int, width: int) -> bytes:
    """Return a PNG that is always the same."""
    from lfm_ros.engine.vision.image import encode
    rows, columns = np.mgrid[:height, :width]
    colours = [rows * 255 // height, columns * 255 // width, rows // 32 * 64 % 256 + 0 * columns]
    return encode(np.stack(colours, axis=2).astype(np.uint8))


class Missions:
    """
    A folder of missions, open with a model as a node has it; a context manager.

    :param model: a folder; ``folder`` that of the missions; ``key_file`` empty: no key.
    :param prepared: whether the graph is made ready for this machine first.
    :param overflow: as the parameter missions.overflow; ``context`` as model.context_length.
    """

    def __init__(self, model: Path, folder: Path, key_file: Path | str = '', *,
                 prepared: bool = False, overflow: str = 'refuse', context: int = 384) -> None:
        options = ModelOptions(threads=1, context_length=context, prefill_chunk=16)
        self.model = open_prepared(model, options) if prepared else Model(model, options)
        self.storage = Storage(folder, self.model, open_cipher(str(key_file)))
        # States are written when a test says so.
        retention = RetentionPolicy(overflow=overflow, checkpoint_turns=0, checkpoint_idle=0.0)
        self.store = MissionStore(self.model, 'You are a robot.', retention, self.storage)
        self._scheduler: Scheduler | None = None

    def __enter__(self) -> Missions:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End without writing what a node writes at its end."""
        if self._scheduler:
            self._scheduler.stop()
        self.storage.close()
        self.model.close()

    @property
    def names(self) -> list[str]:
        """Return the names of all missions, in the order in which they began."""
        return [info.mission_id for info in self.store.list()]

    def restored(self, name: str) -> dict[str, Any]:
        """
        Return what a mission is after it came back, before the model has run for it.

        :returns: ``position`` of its state, ``arrays`` of it by name, and all that was said.
        """
        mission = self.store.get(name)
        return {'position': mission.state.position, 'arrays': mission.state.arrays(),
                **said(mission)}

    def ask(self, *questions: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        Ask greedily, all at once, and return the answers as dictionaries of msg/Response.

        :param questions: fields of msg/Query; of ``tools`` and ``tool_results`` those of their
            messages, ``images`` as files in bytes, ``response_format`` as a dictionary.
        """
        requests = [self.scheduler.submit(_query(dict(fields))) for fields in questions]
        return [asdict(request.wait(WAIT)) for request in requests]

    def observe(self, name: str, text: str) -> None:
        """Tell a mission something."""
        self.scheduler.observe(name, text).result(WAIT)

    def do(self, what: str, *arguments: Any) -> Any:
        """Do something with missions: fork, rewind, reset, save, evict, export, import."""
        where = self.store.archives if what in ('export', 'import') else self.store
        method = getattr(where, {'import': 'import_'}.get(what, what))
        return self.scheduler.submit_job(lambda: method(*arguments)).result(WAIT)

    def continue_(self, name: str, question: str, count: int) -> dict[str, Any]:
        """
        Ask a question for an answer of so many tokens.

        :returns: ``ids`` of question and answer, its ``text``, its ``finish_reason``.
        """
        answer, = self.ask({'mission_id': name, 'prompt': question, 'max_tokens': count})
        mission = self.store.get(name)
        return {'ids': mission.ids[-mission.entries[-1].tokens:], 'text': answer['text'],
                'finish_reason': answer['finish_reason']}

    def state(self, name: str) -> Any:
        """Return a copy of the state of a mission when all of it was read; see margin()."""
        def read() -> Any:
            mission = self.store.get(name)
            mission.prefill_all()
            return mission.state.copy()
        return self.scheduler.submit_job(read, name).result(WAIT)

    def margin(self, state: Any, ids: Sequence[int], count: int) -> float:
        """
        Return how far from any other the tokens of an answer were.

        :param ids: read after ``state``; the last ``count`` of them were chosen, but for those
            that close an answer.
        :returns: the least lead of the logit of one, in standard deviations of all logits.
        """
        def read() -> Any:
            parts = [self.model.runner.run(state, chunk, every=True).copy()
                     for chunk in self.model.chunks(ids)]
            return np.concatenate(parts).astype(np.float64)
        end = len(ids) - len(self.model.template.markup.assistant_suffix)
        logits = self.scheduler.submit_job(read).result(WAIT)[end - count - 1:end - 1]
        best = np.sort(logits, axis=-1)
        return float(((best[:, -1] - best[:, -2]) / logits.std(axis=-1)).min())

    @property
    def scheduler(self) -> Scheduler:
        """Return what answers; it is started at the first use."""
        if self._scheduler is None:
            self._scheduler = Scheduler(self.store, defaults=RequestDefaults(
                Sampling(temperature=0.0, repetition_penalty=1.0)), parallel=4)
        return self._scheduler


def said(mission: Mission | Transcript) -> dict[str, Any]:
    """Return all that was said in a mission, as plain data."""
    return {'fingerprint': mission.fingerprint, 'slid': mission.slid, 'ids': list(mission.ids),
            'calls': [*mission.chunk_sizes, *mission.pending_sizes], 'entries': [
                {'kind': part.kind, 'tokens': part.tokens, 'prompt': part.prompt,
                 'text': part.text, 'finish_reason': part.finish_reason,
                 'sampling': part.sampling, 'time': part.time, 'parent': part.parent,
                 'digest': part.digest, 'images': [image.digest for image in part.images]}
                for part in mission.entries]}


def _query(fields: dict[str, Any]) -> Query:
    form = fields.pop('response_format', {})
    return Query(fields.pop('prompt', ''), response_format=ResponseFormat(**form),
                 images=tuple(EncodedImage(data) for data in fields.pop('images', ())),
                 tools=tuple(Tool(**tool) for tool in fields.pop('tools', ())),
                 results=tuple(ToolResult(**result) for result in
                               fields.pop('tool_results', ())), **fields)


def from_lines(text: str) -> dict[str, Any]:
    """Return the one JSON object that a command has printed."""
    line, = text.splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found
