# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure an exported model on held-out missions: whole answers, greedy, with its own history."""

import argparse
from collections import Counter
import json
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

from entities import SPLITS
from missions import Mission, MissionMaker
import numpy
import onnxruntime
from tokenizers import Tokenizer
from tqdm import tqdm

END_OF_TURN, END_OF_TEXT = 7, 2
LONGEST_MISSION = 1000
LONGEST_ANSWER = 64
GAPS = ((0, 0), (1, 5), (6, 15), (16, 30))
LENGTHS = ((0, 250), (251, 500), (501, 750), (751, LONGEST_MISSION))


class ExportedModel(NamedTuple):
    """The graph, the tokenizer and the size of an attention head, which the graph leaves open."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    head_size: int


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
        self.session, self.tokenizer, self.head_size = model
        self.tokens = 0
        self.pending = '<|startoftext|>'
        self.state = {put.name: self._empty(put.shape) for put in self.session.get_inputs()
                      if put.name.startswith('past')}
        self.outputs = [put.name for put in self.session.get_outputs()]

    def say(self, text: str, system: str | None = None) -> str:
        """Run one turn and return the answer."""
        if system is not None:
            self.pending += f'<|im_start|>system\n{system}<|im_end|>\n'
        prompt = f'{self.pending}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n'
        token = self._run(self.tokenizer.encode(prompt, add_special_tokens=False).ids)
        answer: list[int] = []
        while token not in (END_OF_TURN, END_OF_TEXT) and len(answer) < LONGEST_ANSWER:
            answer.append(token)
            token = self._run([token])
        self.pending = '<|im_end|>\n'
        return str(self.tokenizer.decode(answer, skip_special_tokens=False))

    def _empty(self, shape: list[int | str]) -> numpy.ndarray:
        sizes = [size if isinstance(size, int) else 1 if 'batch' in size else
                 0 if 'sequence' in size else self.head_size for size in shape]
        return numpy.zeros(sizes, numpy.float32)

    def _run(self, ids: list[int]) -> int:
        self.tokens += len(ids)
        feeds = dict(self.state, input_ids=numpy.array([ids], numpy.int64),
                     attention_mask=numpy.ones((1, self.tokens), numpy.int64))
        results = dict(zip(self.outputs, self.session.run(None, feeds)))
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


def converse(model: ExportedModel, missions: Iterable[Mission], split: str) -> Iterator[Outcome]:
    """Play missions turn by turn, up to the longest that is measured; yield every outcome."""
    for mission in missions:
        chat = Chat(model)
        for number, turn in enumerate(mission.turns):
            if chat.tokens > LONGEST_MISSION:
                break
            answer = chat.say(turn.user, mission.system if number == 0 else None)
            yield Outcome(split, turn.kind, turn.gap, chat.tokens, answer == turn.answer,
                          turn.user, turn.answer, answer)


def open_model(folder: Path, threads: int = 1) -> ExportedModel:
    """Open an exported model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / 'model.onnx'), options,
                                           providers=['CPUExecutionProvider'])
    settings = json.loads((folder / 'genai_config.json').read_text())
    return ExportedModel(session, Tokenizer.from_file(str(folder / 'tokenizer.json')),
                         settings['model']['decoder']['head_size'])


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


def main() -> None:
    """Evaluate a folder, print the table as JSON, and show wrong answers if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--missions', type=int, default=60, help='missions per split')
    parser.add_argument('--show-wrong', type=int, default=0, metavar='N')
    arguments = parser.parse_args()
    outcomes = evaluate(arguments.folder, arguments.missions)
    for kind, columns in summarize(outcomes).items():
        print(kind, json.dumps(columns))
    for outcome in [outcome for outcome in outcomes if not outcome.right][:arguments.show_wrong]:
        print(outcome)


if __name__ == '__main__':
    main()
