# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What several test files share: fixture models, the command, a runner that fails on command."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import device_memory
from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.transcript import tokens_in
from lfm_ros.engine.chunks import BATCHED
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.grammar.grammar import Grammar
from lfm_ros.engine.grammar.matcher import GrammarMatcher
from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.sampling import Sampling
from lfm_ros.serving.query import Query
from lfm_ros.serving.turn import Turn
import numpy as np
import onnxruntime
import pytest
from waiting import WAIT

if device_memory.is_device():  # in a process that a test started
    device_memory.install(setattr)

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / 'test' / 'models'
# The modules beside the fixtures (recipes, variants, ...) import each other by name.
sys.path.insert(0, str(MODELS))
# The first runs on every ONNX Runtime that is supported, the second on a GPU.
DEFAULT = 'lfm2-past-conv' if device_memory.PROVIDER == device_memory.CPU else 'lfm2-fp16'
NAMES = sorted(p.name for p in MODELS.iterdir() if (p / 'model.onnx').is_file())
GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0)
LONG_TEXT = 'Where is the red box on the table near the door, and where is the dock? ' * 4


from golden import load  # noqa: E402, I100
from recipes import RECIPES  # noqa: E402


def folder(name: str = DEFAULT) -> Path:
    """Return the folder of a fixture, or skip the test where ONNX Runtime is too old for it."""
    found = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
    needed = next(r.onnxruntime for r in RECIPES if r.name == Path(name).name)
    if found < needed:
        pytest.skip(f'{name} needs ONNX Runtime {needed[0]}.{needed[1]}')
    return MODELS / name


def open_model(name: str = DEFAULT, **options: Any) -> Model:
    """Open a fixture model once; what it holds does not change, its states do."""
    return _open_model(os.environ.get(device_memory.VARIABLE), name, **options)


@lru_cache(maxsize=None)
def _open_model(_: str | None, name: str, **options: Any) -> Model:
    return device_memory.open_model(folder(name), ModelOptions(threads=1, **options))


def golden(name: str) -> dict[str, Any]:
    """Return the golden numbers of a fixture."""
    return asdict(load(name))


def log_probabilities(model: Model, ids: list[int], sizes: list[int]) -> list[float]:
    """Return log p(ids[i+1] | ids[0..i]), read in calls of these sizes, the last one repeated."""
    state = model.new_state()
    rows = []
    start = 0
    while start < len(ids):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        rows.append(model.runner.run(state, ids[start:start + size], every=True).copy())
        start += size
    logits = np.concatenate(rows).astype(np.float64)
    logits -= np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return [float(logits[i, ids[i + 1]]) for i in range(len(ids) - 1)]


def continue_greedily(model: Model, prompt: list[int], count: int) -> list[int]:
    """Return the most likely ids after a prompt."""
    state = model.new_state()
    found = []
    fresh = prompt
    for _ in range(count):
        fresh = [int(model.runner.run(state, fresh)[-1].argmax())]
        found += fresh
    return found


def begin(mission: Mission, prompt: str, sampling: Sampling = GREEDY, limits: Limits = Limits(),
          cancel_token: CancelToken | None = None, **query: Any) -> Turn:
    """Return a turn, of which nothing is done yet."""
    return Turn(mission, Query(prompt, mission.mission_id, **query), sampling, limits,
                cancel_token)


def ask(mission: Mission, prompt: str, sampling: Sampling = GREEDY, max_tokens: int = 6,
        **more: Any) -> Turn:
    """Do one turn from its beginning to its end."""
    turn = begin(mission, prompt, sampling, Limits(max_tokens), **more)
    for _ in turn.steps():
        pass
    return turn


def compiled(model: Model, source: GrammarSource) -> Grammar:
    """Return a grammar that is compiled."""
    grammar = model.grammars.get(source)
    while not model.grammars.advance(grammar):
        grammar.poll(WAIT)
    return grammar


def write_at_random(model: Model, grammar: Grammar, seed: int, likely: Sequence[int] = (),
                    more: float = 0.0, most: int = 1000) -> list[int]:
    """
    Return tokens that a model writes at random under a grammar.

    :param likely: tokens whose logits are larger, by ``more``.
    """
    chance, ids = np.random.default_rng(seed), list[int]()
    matcher = GrammarMatcher.of(grammar)
    while not matcher.complete and len(ids) < most:
        logits = chance.normal(size=model.vocabulary).astype(np.float32)
        logits[list(likely)] += more
        matcher.mask(logits)
        ids.append(int(logits.argmax()))
        if ids[-1] in model.end_ids:
            break
        matcher.push(ids[-1])
        ids += matcher.forced()
    return ids


def new_mission(model: Model, *prompts: str, system: str = 'You are a robot.') -> Mission:
    """Return a mission in which these were asked."""
    mission = Mission('m', model, model.template.preamble(system))
    for prompt in prompts:
        ask(mission, prompt)
    return mission


def text_of(mission: Mission, prompt: str, **more: Any) -> str:
    """Ask, and return the answer."""
    return ask(mission, prompt, **more).generation.text


def snapshot(mission: Mission) -> dict[str, Any]:
    """Return all that a turn which fails must leave as it was."""
    arrays = {name: array.copy() for name, array in mission.state.arrays().items()}
    return {'ids': list(mission.ids), 'calls': list(mission.chunk_sizes),
            'pending_sizes': list(mission.pending_sizes), 'turns': list(mission.turns),
            'position': mission.state.position, 'message': mission.in_message, 'arrays': arrays}


def assert_same(found: Any, expected: Any) -> None:
    """Compare two snapshots, or two sets of arrays, exactly."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[key], value)
        elif isinstance(value, np.ndarray):
            assert np.array_equal(found[key], value), key
        else:
            assert found[key] == value, key


def check_invariants(mission: Mission) -> None:
    """Check what holds for a mission between any two operations."""
    assert len(mission.ids) == tokens_in(mission.chunk_sizes) + tokens_in(mission.pending_sizes)
    assert mission.state.position == tokens_in(mission.chunk_sizes)
    sizes = (*mission.chunk_sizes, *mission.pending_sizes)
    assert all(size > 0 or size == BATCHED for size in sizes)
    starts = [turn.start for turn in mission.turns]
    assert starts == sorted(starts)
    assert len(mission.ids) <= mission.model.context_length


def check_read_again(mission: Mission) -> None:
    """Check that a state is the same, bit for bit, when its ids are read again from the first."""
    mission.prefill_all()
    again = Mission.of(mission, mission.model)
    again.state = mission.model.new_state()
    again.prefill_all()
    assert_same(again.state.arrays(), mission.state.arrays())


class FailingRunner:
    """
    A runner that fails on command.

    :param at: the call that fails, counted from 1.
    :param error: raised at that call, before (``late`` false) or after the real one.
    """

    def __init__(self, real: Any, at: int, error: BaseException) -> None:
        self._real = real
        self._left = at
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run(self, *arguments: Any, **more: Any) -> np.ndarray:
        """Run, or fail."""
        self._left -= 1
        if self._left == 0:
            raise self._error
        return self._real.run(*arguments, **more)


def command(*arguments: object) -> list[str]:
    """Return the command line of `lfm` with the sources of this repository."""
    return [sys.executable, '-m', 'lfm_ros.cli.main', *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return an environment in which the sources of this repository are imported."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH', '')]))
    return {**os.environ, 'PYTHONPATH': path}


def lfm(*arguments: object, stdin: bytes = b'') -> subprocess.CompletedProcess[str]:
    """Run `lfm` and return its status and what it printed."""
    done = subprocess.run(command(*arguments), input=stdin, env=environment(),
                          capture_output=True, timeout=WAIT)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def assert_one_line(text: str, *words: str) -> None:
    """Check that a message is one sentence on one line, and names what it should."""
    lines = text.rstrip('\n').splitlines()
    assert len(lines) == 1, text
    assert 'Traceback' not in text
    assert ': ' in text, 'it should say what is wrong, then what to do'
    for word in words:
        assert word in text, text
