# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure an exported model on held-out missions: whole answers, greedy, with its own history."""

import argparse
from collections import Counter
import json
from pathlib import Path
import random
import sys
from typing import Iterable, Iterator, NamedTuple

from drawing import draw
from entities import SPLITS
from missions import Mission, MissionMaker, render
import no_telemetry  # noqa: F401
import numpy
import onnxruntime
from pictures import cut, normalize, Patches
from questions import ASKED
from scenes import SceneMaker
from sights import Sight, SightMaker
from tokenizers import Tokenizer
from tool_calls import CALL_BEGIN, CALL_END, CALL_SPLITS, CallMaker
from tqdm import tqdm

# The engine is that of this repository.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lfm_ros.engine.decoding.limits import Limits  # noqa: E402, I100
from lfm_ros.engine.model import Model  # noqa: E402, I100
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402, I100
from lfm_ros.engine.sampling import Sampling  # noqa: E402, I100
from lfm_ros.engine.text.tool_calls import parse_tool_calls  # noqa: E402, I100
from lfm_ros.engine.text.tools import (  # noqa: E402, I100
    from_json, to_json, Tool, ToolCall, ToolResult)
from lfm_ros.conversation.mission import Mission as Conversation  # noqa: E402, I100
from lfm_ros.serving.query import Query  # noqa: E402, I100
from lfm_ros.serving.turn import Turn  # noqa: E402, I100

# The end of a turn and of a text; an image token without an image ends an answer, too.
ENDS = (7, 2, 396)
LONGEST_MISSION = 1000
LONGEST_ANSWER = 64
GAPS = ((0, 0), (1, 5), (6, 15), (16, 30))
LENGTHS = ((0, 250), (251, 500), (501, 750), (751, LONGEST_MISSION))
PICTURE_KINDS = {*ASKED, 'shown', 'unseen'}
PICTURE_MISSION = 700


class ExportedModel(NamedTuple):
    """The graphs, the tokenizer and the size of a head, which the decoder leaves open."""

    decoder: onnxruntime.InferenceSession
    embeddings: onnxruntime.InferenceSession
    vision: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    hidden: int
    head_size: int

    def look(self, picture: Patches) -> numpy.ndarray:
        """Return the image features of a picture [tokens, hidden]."""
        feeds = {'pixel_values': normalize(picture.values)[None],
                 'attention_mask': numpy.ones((1, len(picture.values)), numpy.int64),
                 'image_sizes': numpy.array([[picture.rows, picture.columns]])}
        return numpy.asarray(self.vision.run(None, feeds)[0])


class Outcome(NamedTuple):
    """One question, where it was asked and whether the answer was right, word for word."""

    split: str
    kind: str
    gap: int
    tokens: int
    right: bool
    question: str
    expected: str
    answer: str


class Chat:
    """A conversation with an exported model; its state grows with every turn."""

    def __init__(self, model: ExportedModel) -> None:
        self.model = model
        self.tokens = 0
        self.pending = ''
        self.state = {put.name: self._empty(put.shape) for put in model.decoder.get_inputs()
                      if put.name.startswith('past')}
        self.outputs = [put.name for put in model.decoder.get_outputs()]

    def say(self, prompt: str, picture: Patches | None = None) -> str:
        """Run one turn, given as it is rendered, and return the answer."""
        ids = self.model.tokenizer.encode(self.pending + prompt, add_special_tokens=False).ids
        token = self._run(ids, picture)
        answer: list[int] = []
        while token not in ENDS and len(answer) < LONGEST_ANSWER:
            answer.append(token)
            token = self._run([token])
        self.pending = '<|im_end|>'
        return str(self.model.tokenizer.decode(answer, skip_special_tokens=False))

    def _empty(self, shape: list[int | str]) -> numpy.ndarray:
        sizes = [size if isinstance(size, int) else 1 if 'batch' in size else
                 0 if 'sequence' in size else self.model.head_size for size in shape]
        return numpy.zeros(sizes, numpy.float32)

    def _run(self, ids: list[int], picture: Patches | None = None) -> int:
        self.tokens += len(ids)
        seen = self.model.look(picture) if picture else \
            numpy.zeros((0, self.model.hidden), numpy.float32)
        embeds = self.model.embeddings.run(None, {
            'input_ids': numpy.array([ids], numpy.int64), 'image_features': seen})[0]
        feeds = dict(self.state, inputs_embeds=embeds,
                     attention_mask=numpy.ones((1, self.tokens), numpy.int64))
        results = dict(zip(self.outputs, self.model.decoder.run(None, feeds)))
        for name in self.state:
            present = name.replace('past_key_values.', 'present.').replace('past.', 'present.')
            self.state[name] = results[present]
        return int(results['logits'][0, -1].argmax())


def held_out_missions(split: str, count: int, seed: int = 7000) -> Iterator[Mission]:
    """Yield missions of a split in the shapes that matter: natural ones and long gaps."""
    maker = MissionMaker(seed + SPLITS.index(split), split)
    for number in range(count):
        if number % 3 == 0:
            yield maker.mixed(maker.rng.choice((6, 12, 24, 36)))
        else:
            low, high = GAPS[(number // 3) % len(GAPS)]
            yield maker.distant(maker.rng.randint(low, high), maker.rng.randint(1, 5),
                                maker.rng.randint(3, 8))


def held_out_sights(count: int, seed: int = 8000) -> Iterator[Mission]:
    """Yield missions with pictures of scenes that were never drawn for training."""
    rng = random.Random(seed)
    scenes = SceneMaker(rng)

    def camera() -> Sight:
        scene = scenes.scene()
        return Sight(scene, cut(draw(scene)))

    maker = SightMaker(rng, MissionMaker(rng.getrandbits(32), 'pair'), camera)
    for _ in range(count):
        yield maker.mission(rng.randint(100, PICTURE_MISSION))


def converse(model: ExportedModel, missions: Iterable[Mission], split: str) -> Iterator[Outcome]:
    """Play missions turn by turn, up to the longest that is measured; yield every outcome."""
    for mission in missions:
        chat = Chat(model)
        for turn, (prompt, _, _) in zip(mission.turns, render(mission)):
            if chat.tokens > LONGEST_MISSION:
                break
            answer = chat.say(prompt, turn.picture and turn.picture.patches)
            yield Outcome(split, turn.kind, turn.gap, chat.tokens, answer == turn.answer,
                          turn.user, turn.answer, answer)


def held_out_calls(split: str, count: int, seed: int = 9000) -> Iterator[Mission]:
    """Yield missions with lists of tools that were never trained."""
    maker = CallMaker(seed + CALL_SPLITS.index(split), split)
    for _ in range(count):
        yield maker.mission(maker.rng.choice((6, 10, 16, 24)))


def call_tools(model: Model, missions: Iterable[Mission], split: str) -> Iterator[Outcome]:
    """
    Play missions with tools in the engine of the node; yield every outcome.

    Of calls, the names and the arguments are compared. What a tool gave back is told, and counts,
    only where it was called as it should be.
    """
    for mission in missions:
        tools = from_json(mission.tools)
        chat = Conversation('one', model, model.template.preamble(mission.system or ''),
                            mission.system or '').with_tools(to_json(tools))
        calls: list[ToolCall] = []
        for turn in mission.turns:
            if len(chat.ids) > LONGEST_MISSION:
                break
            if turn.results and len(turn.results) != len(calls):
                continue
            results = [ToolResult(call.name, content)
                       for call, content in zip(calls, turn.results)]
            playing = Turn(
                chat, Query(turn.user, tools=tuple(tools), results=tuple(results)),
                Sampling(temperature=0.0, min_p=0.0, repetition_penalty=1.0),
                Limits(LONGEST_ANSWER))
            for _ in playing.steps():
                pass
            answer = playing.generation
            wanted, text = expected_calls(turn.answer, tools)
            right = answer.text == text and answer.tool_calls == wanted
            calls = wanted if right else []
            yield Outcome(split, turn.kind, turn.gap, len(chat.ids), right,
                          turn.user or ' '.join(turn.results), turn.answer, answer.record)


def expected_calls(answer: str, tools: list[Tool]) -> tuple[list[ToolCall], str]:
    """Return the calls of a right answer, and its text."""
    before, begin, rest = answer.partition(CALL_BEGIN)
    return (parse_tool_calls(rest.removesuffix(CALL_END), tools) if begin else []), before


def open_model(folder: Path, threads: int = 1) -> ExportedModel:
    """Open an exported model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    settings = json.loads((folder / 'genai_config.json').read_text())['model']
    decoder, embeddings, vision = (
        onnxruntime.InferenceSession(str(folder / settings[part]['filename']), options,
                                     providers=['CPUExecutionProvider'])
        for part in ('decoder', 'embedding', 'vision'))
    return ExportedModel(decoder, embeddings, vision,
                         Tokenizer.from_file(str(folder / 'tokenizer.json')),
                         settings['decoder']['hidden_size'], settings['decoder']['head_size'])


def bucket(value: int, bounds: tuple[tuple[int, int], ...]) -> str | None:
    """Return the name of the bucket that holds a value, if any."""
    return next((f'{low}-{high}' if low != high else str(low) for low, high in bounds
                 if low <= value <= high), None)


def summarize(outcomes: list[Outcome]) -> dict[str, dict[str, list[float]]]:
    """Return [percent right, asked] by kind, by kind and split, gap, and length."""
    right: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()
    for outcome in outcomes:
        gap, length = bucket(outcome.gap, GAPS), bucket(outcome.tokens, LENGTHS)
        columns = ['all', f'split {outcome.split}', f'tokens {length}']
        columns += [f'gap {gap}'] if gap else []
        for column in columns:
            asked[outcome.kind, column] += 1
            right[outcome.kind, column] += outcome.right
    table: dict[str, dict[str, list[float]]] = {}
    for kind, column in sorted(asked):
        count = asked[kind, column]
        table.setdefault(kind, {})[column] = [round(100 * right[kind, column] / count, 1), count]
    return table


def evaluate(folder: Path, missions: int) -> list[Outcome]:
    """Play held-out missions of every split with an exported model."""
    model = open_model(folder)
    outcomes: list[Outcome] = []
    for split in SPLITS:
        made = tqdm(held_out_missions(split, missions), total=missions, desc=f'evaluate {split}')
        outcomes += converse(model, made, split)
    return outcomes


def evaluate_vision(folder: Path, missions: int) -> list[Outcome]:
    """Play missions with pictures never seen; return what concerns the pictures."""
    made = tqdm(held_out_sights(missions), total=missions, desc='evaluate pictures')
    return [outcome for outcome in converse(open_model(folder), made, 'pictures')
            if outcome.kind in PICTURE_KINDS]


def evaluate_calls(folder: Path, missions: int) -> list[Outcome]:
    """Play missions with tools of every split in the engine of the node."""
    model = Model(folder, ModelOptions(threads=1))
    outcomes: list[Outcome] = []
    for split in CALL_SPLITS:
        made = tqdm(held_out_calls(split, missions), total=missions, desc=f'evaluate {split}')
        outcomes += call_tools(model, made, split)
    return outcomes


def main() -> None:
    """Evaluate a folder, print the table as JSON, and show wrong answers if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--missions', type=int, default=60, help='missions per split')
    parser.add_argument('--show-wrong', type=int, default=0, metavar='N')
    arguments = parser.parse_args()
    outcomes = evaluate(arguments.folder, arguments.missions)
    outcomes += evaluate_vision(arguments.folder, 2 * arguments.missions)
    called = evaluate_calls(arguments.folder, arguments.missions)
    for kind, columns in summarize(outcomes).items():
        print(kind, json.dumps(columns))
    for kind, columns in summarize(called).items():
        print('with tools:', kind, json.dumps(columns))
    outcomes += called
    for outcome in [outcome for outcome in outcomes if not outcome.right][:arguments.show_wrong]:
        print(outcome)


if __name__ == '__main__':
    main()
