#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure a model on a GPU, against a bare captured loop and onnxruntime-genai, and try its promises.

Every row compares in turn, in one run; ratios are medians of the rounds. Without a GPU all of it
runs on the CPU with states in OrtValues of the host: that tries the code, and its speeds say
nothing about a GPU.

    python bench/gpu.py [--folder FOLDER | --model MODEL] [--parts decode,...] [--json FILE]

FOLDER keeps the models that are made: LFM2-350M in int4, random weights, as onnxruntime-genai's
builder exports it for CUDA and for the CPU (that one computes in fp32, as published q4 files do),
and, for the part ``vision``, one of the shape of LFM2-VL-450M. That needs what
test/models/requirements.txt lists.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import closing
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
import io
import json
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from drivers.process import DriverProcess  # noqa: E402
import forms  # noqa: E402, I100
from lfm_ros.conversation.mission import Mission  # noqa: E402
from lfm_ros.engine import opening  # noqa: E402, I100
from lfm_ros.engine.decoding.generation import Generation  # noqa: E402
from lfm_ros.engine.decoding.limits import Limits  # noqa: E402
from lfm_ros.engine.model import Model  # noqa: E402
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402
from lfm_ros.engine.runtime.device_buffers import DeviceMemory  # noqa: E402
from lfm_ros.engine.runtime.execution_provider import available_providers  # noqa: E402
from lfm_ros.engine.runtime.execution_provider import CPU  # noqa: E402
from lfm_ros.engine.runtime.execution_provider import CUDA  # noqa: E402
from lfm_ros.engine.runtime.execution_provider import memory_of  # noqa: E402
from lfm_ros.engine.sampling import Sampling  # noqa: E402
from lfm_ros.prepare.folder import prepare as prepare_folder  # noqa: E402
from lfm_ros.prepare.folder import PrepareOptions  # noqa: E402
from lfm_ros.prepare.manifest import read_manifest  # noqa: E402
from lfm_ros.prepare.open_model import open_prepared  # noqa: E402
from lfm_ros.serving.mission_store import MissionStore  # noqa: E402
from lfm_ros.serving.query import Query  # noqa: E402
from lfm_ros.serving.query import RequestDefaults  # noqa: E402
from lfm_ros.serving.retention import RetentionPolicy  # noqa: E402
from lfm_ros.serving.scheduler import Scheduler  # noqa: E402
from lfm_ros.storage.storage import Storage  # noqa: E402
import looking  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from PIL import Image  # noqa: E402
import together  # noqa: E402

BENCH = Path(__file__).resolve().parent
PARTS = ('decode', 'prefill', 'forms', 'promises', 'q4', 'clients', 'budget', 'vision')
GREEDY = Sampling(temperature=0.0, min_p=0.0, repetition_penalty=1.0, seed=1)
CARD = Sampling(seed=1)
MB = 1 << 20


class Bench:
    """
    What is measured of one model.

    :param arguments: of the command.
    :ivar rows: what was found, by table.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.providers = [arguments.provider] + ([CPU] if arguments.provider != CPU else [])
        self.context = max(arguments.histories) + 1024
        self.rows: dict[str, Any] = {}
        self.all_rows = self.rows
        self.memory = memory_of(self.providers, {})
        self.path = str(arguments.model)
        if not self.memory.on_device:
            self.path = str(Path(arguments.work) / 'model')
            prepare_folder(str(arguments.model), Path(self.path), '', PrepareOptions(lanes=1))
            opening.memory_of = lambda *_: DeviceMemory('cpu', 0, [CPU])  # type: ignore
        self.free_before = self.memory.free_bytes()
        started = time.perf_counter()
        self.model = self.open(self.context)
        self.rows['opening'] = {
            'seconds': round(time.perf_counter() - started, 2), 'provider': arguments.provider,
            'states on': 'the device' if self.memory.on_device else 'the host, as on a device',
            'prefill chunk': self.model.chunk_size,
            'captured': self.model.runner.capabilities.captured,
            'rolls back': self.model.runner.can_rollback,
            'batch': self.model.runner.max_batch_size, 'device MB': self.device_mb()}

    def open(self, context: int, **more: Any) -> Model:
        """Open the model on the provider."""
        options = ModelOptions(providers=self.providers, context_length=context,
                               prompt_lookup=False, **more)
        model = open_prepared(self.path, options) if self.memory.on_device else \
            Model(self.path, options)
        model.end_ids = frozenset()  # every answer gets the length asked for
        return model

    def device_mb(self) -> float | None:
        """Return the memory of the device that is taken since the beginning."""
        free = self.memory.free_bytes()
        if free is None or self.free_before is None:
            return None
        return round((self.free_before - free) / MB, 1)

    def ids(self, count: int) -> list[int]:
        """Return so many random ids."""
        rng = np.random.default_rng(count)
        return [int(i) for i in rng.integers(16, self.model.vocabulary - 16, count)]

    def read(self, count: int) -> tuple[Any, np.ndarray]:
        """Return a state after so many ids, and the logits."""
        state, logits = self.model.new_state(), np.zeros(0)
        for chunk in self.model.chunks(self.ids(count)):
            logits = self.model.runner.run(state, chunk)[-1].copy()
        return state, logits

    def write(self, state: Any, logits: np.ndarray, sampling: Sampling, tokens: int,
              model: Model | None = None) -> float:
        """Return the tokens per second of an answer, after its first ones."""
        mark = state.mark()
        warm = 10  # a run is captured, and memory found
        answer = Generation(model or self.model, state, sampling,
                            Limits(tokens + warm, ['no such text']))
        steps = answer.steps(logits.copy(), [])
        for _ in range(warm):
            next(steps)
        started = time.perf_counter()
        for _ in range(tokens):
            next(steps, None)
        seconds = time.perf_counter() - started
        state.restore(mark)
        return tokens / seconds

    def bare(self, history: int, tokens: int) -> Callable[[], float]:
        """Return what gives the tokens per second of a loop of nothing but captured runs."""
        runner = self.model.runner
        state, _ = self.read(history)
        runner.run(state, [5])
        lanes = runner._lanes
        assert lanes, 'this model has no lanes here'
        fixed = next(run for (lane, front), run in lanes._runs.items()
                     if lane >= 0 and front == state.front ^ 1)

        def rate() -> float:
            for _ in range(4):
                fixed.run()
            started = time.perf_counter()
            for _ in range(tokens):
                lanes._single.set([history], [7])
                fixed.run()
            return tokens / (time.perf_counter() - started)
        return rate

    def decode(self) -> None:
        """Measure decode steps behind several histories."""
        tokens, rounds = self.arguments.tokens, self.arguments.rounds
        genai = self.peer()
        table = self.rows['decode, tokens/s'] = {}
        for history in self.arguments.histories:
            state, logits = self.read(history)
            bare = self.bare(history, tokens) if self.model.runner.capabilities.captured else None
            found: dict[str, list[float]] = {}
            for _ in range(rounds):
                rates = {'greedy': self.write(state, logits, GREEDY, tokens),
                         'card': self.write(state, logits, CARD, tokens)}
                if bare:
                    rates['bare'] = bare()
                if genai:
                    with genai.awake():
                        genai.ask('prefill', ids=self.ids(history))
                        genai.ask('decode', tokens=8)
                        rates['genai'] = tokens / genai.ask('decode', tokens=tokens)['seconds']
                for name, rate in rates.items():
                    found.setdefault(name, []).append(rate)
            table[history] = summary(found, 'greedy')

    def prefill(self) -> None:
        """Measure prompts, and the first token of a short turn behind nothing and a long one."""
        genai = self.peer()
        table = self.rows['prefill, tokens/s'] = {}
        for count in (n for n in (512, 4096) if n < self.context):
            found: dict[str, list[float]] = {}
            for _ in range(self.arguments.rounds):
                started = time.perf_counter()
                self.read(count)
                found.setdefault('lfm_ros', []).append(count / (time.perf_counter() - started))
                if genai:
                    with genai.awake():
                        seconds = genai.ask('prefill', ids=self.ids(count))['seconds']
                    found.setdefault('genai', []).append(count / seconds)
            table[count] = summary(found, 'lfm_ros')
        behind = {}
        for history in (h for h in (0, 4096) if h < self.context - 64):
            state, _ = self.read(history) if history else (self.model.new_state(), None)
            mark, seconds = state.mark(), []
            for _ in range(self.arguments.rounds + 2):
                state.restore(mark)
                started = time.perf_counter()
                self.model.runner.run(state, self.ids(20))
                seconds.append(time.perf_counter() - started)
            behind[history] = round(1000 * statistics.median(seconds[2:]), 2)
        self.rows['first token of a 20-token turn, ms'] = behind

    def clients(self) -> None:
        """Measure several missions that are answered at once."""
        self.rows['clients'] = table = {}
        for count in (1, 4, 8):
            model = self.open(1024, max_batch_size=count)
            states = [model.new_state() for _ in range(count)]
            for state in states:
                model.runner.run(state, self.ids(64))
            rates = []
            for _ in range(self.arguments.rounds + 1):
                started = time.perf_counter()
                for _ in range(32):
                    if count == 1:
                        model.runner.run(states[0], [7])
                    else:
                        model.runner.decode_batch(states, [7] * count)
                rates.append(32 * count / (time.perf_counter() - started))
            table[count] = {'runs, tokens/s': round(statistics.median(rates[1:]), 1)}
            del model, states, state
        together.CLIENTS = 8
        with suppress(SystemExit):
            self.rows['clients through the scheduler'] = {
                row['clients']: row['writing_ratio'] for row in together.measure(
                    argparse.Namespace(model=str(self.arguments.model), history=512, tokens=48,
                                       rounds=3, long=600, threads=0, cache_dir=None,
                                       providers=self.providers))['clients']}

    def forms(self) -> None:
        """Measure answers that are held to a JSON schema, against free text."""
        scheduler = Scheduler(MissionStore(self.model), defaults=RequestDefaults(CARD, 256))
        try:
            self.rows['ms per token, with a form'] = forms.time_tokens(
                scheduler, self.arguments.rounds, 2 * self.arguments.tokens)['ms_per_token']
        finally:
            scheduler.stop()

    def q4(self) -> None:
        """Measure an export with fp32 activations, which is converted to fp16 for a GPU."""
        if not (self.arguments.q4 and self.memory.on_device):
            return
        options = ModelOptions(providers=self.providers, context_length=1024, prompt_lookup=False)
        model = open_prepared(str(self.arguments.q4), options)
        model.end_ids = frozenset()
        assert model.options.prepared
        state, logits = model.new_state(), np.zeros(0)
        for chunk in model.chunks(self.ids(512)):
            logits = model.runner.run(state, chunk)[-1].copy()
        rates = [self.write(state, logits, GREEDY, self.arguments.tokens, model)
                 for _ in range(self.arguments.rounds)]
        self.rows['q4 with fp32 activations'] = {
            'tokens/s behind 512': round(statistics.median(rates), 1),
            'captured': model.runner.capabilities.captured,
            **read_manifest(model.options.prepared).get('change', {}).get('float16', {})}

    def budget(self) -> None:
        """Use many missions in turn, of which the device may hold four; watch its memory."""
        length, missions = 1000, self.arguments.missions
        model = self.open(2048)
        each = model.new_state().nbytes_at(length + 300)
        limit = int(4.5 * each)
        before, most = self.device_mb(), 0.0
        with tempfile.TemporaryDirectory() as place, \
                closing(Storage(Path(place), model)) as storage:
            store = MissionStore(model, '', RetentionPolicy(
                max_missions=missions + 1, device_bytes_limit=limit, overflow='forget'), storage)
            scheduler = Scheduler(store, defaults=RequestDefaults(CARD, 8))
            try:
                first = 'mission 0'
                together.answered([scheduler.submit(
                    Query(together.text_of(model, length - 100), first))])
                for number in range(1, missions):
                    scheduler.submit_job(partial(store.fork, first, f'mission {number}')).result()
                order = np.random.default_rng(1).permutation(missions)
                for number in order:
                    together.answered([scheduler.submit(Query('Where?', f'mission {number}'))])
                    most = max(most, self.device_mb() or 0.0)
                resident = sum(info.resident for info in store.list())
            finally:
                scheduler.stop()
            self.rows['budget of the device'] = {
                'missions': missions, 'limit MB': round(limit / MB, 1),
                'of states at the end MB': round(store.memory.device_nbytes / MB, 1),
                'device MB before': before, 'device MB at most': most, 'in memory': resident}

    def vision(self) -> None:
        """Measure a picture from its bytes to the first token, by stage, against the CPU."""
        if not self.arguments.seeing:
            return
        with io.BytesIO() as file:
            Image.fromarray(np.random.default_rng(1).integers(
                0, 256, (15, 20, 3), np.uint8)).resize((640, 480)).save(file, 'JPEG')
            data = file.getvalue()
        models = {name: open_prepared(str(self.arguments.seeing), ModelOptions(
            providers=providers, context_length=2048, prompt_lookup=False))
            for name, providers in (('device', self.providers), ('CPU', [CPU]))}
        found: dict[str, list[list[float]]] = {name: [] for name in models}
        for number in range(self.arguments.rounds + 1):
            for name, model in models.items():
                seconds = looking.measure(model, data)
                if number:
                    found[name].append(seconds)
        self.rows['640x480 JPEG to the first token, ms'] = {name: {
            step: round(1000 * statistics.median(run[place] for run in some), 1)
            for place, step in enumerate(looking.STEPS)} for name, some in found.items()}

    def promises(self) -> None:
        """Try that answers stay equal, whatever is done with a state in between."""
        runner, found = self.model.runner, {}
        count = 200
        state, logits = self.read(count)
        mark = state.mark()
        expected = self.greedy(state, logits)

        def same(name: str, other: Any, first: np.ndarray = logits) -> None:
            found[name] = self.greedy(other, first) == expected

        state.restore(mark)
        same('after a rewind', state)
        state.restore(mark)
        same('of a fork', state.copy())
        known = runner.capabilities
        runner.use(known._replace(captured=False))
        same('without capture', state.copy())
        runner.use(known)
        if runner.can_rollback:
            other = state.copy()
            runner.run(other, self.ids(8), every=True)
            runner.rollback(other, 0)
            same('after a rollback', other)
        other = state.copy()
        other.move_to(opening.memory_of([CPU], {}))
        same('after an offload', other)
        with tempfile.TemporaryDirectory() as place:
            for kept in (False, True):
                with closing(Storage(Path(place), self.model)) as storage:
                    store = MissionStore(self.model, '', RetentionPolicy(), storage)
                    mission = store.get_or_create('m')
                    if not kept:
                        self.grow(mission, 2000)
                        store.commit('m')
                        self.time_checkpoint(store, mission)
                        store.commit('m')
                        store.save('m')
                        before = mission.state.arrays()
                        self.time_return(store)
                    else:
                        after = mission.state.arrays()
                        found['after a restart, bit for bit'] = all(
                            np.array_equal(before[name], after[name]) for name in before)
        self.rows['equal greedy tokens'] = found

    def greedy(self, state: Any, logits: np.ndarray) -> list[int]:
        """Return greedy ids."""
        answer = Generation(self.model, state, GREEDY, Limits(24, []))
        for _ in answer.steps(logits.copy(), []):
            pass
        return answer.ids

    def grow(self, mission: Mission, tokens: int) -> None:
        """Tell a mission so many tokens."""
        left = (self.model.context_length - len(mission.ids)) // 2
        mission.observe(together.text_of(self.model, min(tokens, left)), [])
        mission.prefill_all()

    def time_checkpoint(self, store: MissionStore, mission: Mission) -> None:
        """Measure how long a turn waits for a checkpoint of 100 new rows."""
        store.save('m')
        self.grow(mission, 100)
        started = time.perf_counter()
        store.storage.save(mission)
        self.rows['checkpoint of 100 rows, ms in the turn'] = round(
            1000 * (time.perf_counter() - started), 2)
        store.storage.flush()

    def time_return(self, store: MissionStore) -> None:
        """Measure how much later the first token comes of a mission that was evicted."""
        def first_token() -> float:
            started = time.perf_counter()
            mission = store.get('m')
            mark = mission.state.mark()
            self.model.runner.run(mission.state, self.ids(20))
            seconds = time.perf_counter() - started
            mission.state.restore(mark)
            return 1000 * seconds

        first_token()
        times: dict[str, list[float]] = {'resident': [], 'offloaded': [], 'on disk': []}
        for _ in range(self.arguments.rounds):
            times['resident'].append(first_token())
            store.memory.offload_oldest()
            times['offloaded'].append(first_token())
            store.evict('m')
            times['on disk'].append(first_token())
        self.rows['first token of a long mission, ms'] = {
            name: round(statistics.median(some), 2) for name, some in times.items()}

    def peer(self) -> DriverProcess | None:
        """Start onnxruntime-genai, where it is installed; its model must be its own export."""
        if not hasattr(self, '_peer'):
            there = find_spec('onnxruntime_genai') and \
                (Path(self.arguments.model) / 'genai_config.json').is_file()
            self._peer = DriverProcess('genai', sys.executable, [
                str(Path(self.arguments.model).resolve()), '--context', str(self.context)]) \
                if there else None
        return self._peer


def summary(found: dict[str, list[float]], ours: str) -> dict[str, float]:
    """Return medians, and the medians of the ratios of ours to the others."""
    table = {name: round(statistics.median(rates), 1) for name, rates in found.items()}
    for name, rates in found.items():
        if name != ours:
            table[f'{ours} / {name}'] = round(statistics.median(
                a / b for a, b in zip(found[ours], rates)), 3)
    return table


def show(rows: dict[str, Any]) -> None:
    """Print all tables."""
    for name, table in rows.items():
        if not isinstance(table, dict):
            print(f'{name}: {table}')
            continue
        print(name)
        for key, value in table.items():
            text = ', '.join(f'{k} {v}' for k, v in value.items()) \
                if isinstance(value, dict) else value
            print(f'  {key!s:<28} {text}')


def make_models(folder: Path, with_vision: bool) -> tuple[Path, Path, Path]:
    """Make the models that are not there yet; the exporters are not needed where all are."""
    model, q4, seeing = folder / '350m/int4-cuda', folder / '350m/int4-32', folder / 'vl-450m'
    if not (model / 'model.onnx').is_file() or not (q4 / 'model.onnx').is_file():
        from formats.checkpoint import make_checkpoint
        from formats.checkpoint import SHAPES
        from formats.onnx_export import export_onnx
        checkpoint = folder / '350m/checkpoint'
        checkpoint.mkdir(parents=True, exist_ok=True)
        make_checkpoint(SHAPES['350m'], checkpoint)
        for target in (model, q4):
            export_onnx(checkpoint, target, target.name)
    if with_vision and not (seeing / 'model.onnx').is_file():
        subprocess.run([sys.executable, str(BENCH / 'random_vision_model.py'), str(seeing)],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return model, q4, seeing


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--folder', type=Path, help='for the models; default: one that goes away')
    parser.add_argument('--model', type=Path, help='measure this one instead')
    parser.add_argument('--q4', type=Path, help='the same model with fp32 activations')
    parser.add_argument('--seeing', type=Path, help='a model that sees')
    parser.add_argument('--parts', default=','.join(PARTS), help='default: %(default)s')
    parser.add_argument('--provider', default=CUDA if CUDA in available_providers() else CPU)
    parser.add_argument('--histories', type=lambda text: [int(n) for n in text.split(',')],
                        default=[512, 8192, 32000])
    parser.add_argument('--tokens', type=int, default=64)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--missions', type=int, default=200)
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args(given)
    parts = arguments.parts.split(',')
    with tempfile.TemporaryDirectory() as arguments.work:
        if not arguments.model:
            started = time.perf_counter()
            made = make_models((arguments.folder or Path(arguments.work)).resolve(),
                               'vision' in parts)
            arguments.model, arguments.q4, arguments.seeing = made
            print(f'models: {time.perf_counter() - started:.0f} s', flush=True)
        run(arguments, parts)


def run(arguments: argparse.Namespace, parts: Sequence[str]) -> None:
    """Measure and print, with a folder for what is made on the way."""
    print(f'ONNX Runtime {onnxruntime.__version__}, {arguments.provider}', flush=True)
    bench = Bench(arguments)
    show({'opening': bench.rows['opening']})
    for part in parts:
        started = time.perf_counter()
        bench.rows = {}
        try:
            getattr(bench, part)()
        except Exception as error:
            bench.rows[f'{part} failed'] = f'{type(error).__name__}: {error}'
            traceback.print_exc()
        print(f'-- {part}: {time.perf_counter() - started:.0f} s', flush=True)
        show(bench.rows)
        bench.all_rows.update(bench.rows)
        if arguments.json:
            arguments.json.write_text(json.dumps(bench.all_rows, indent=1))


if __name__ == '__main__':
    main()
