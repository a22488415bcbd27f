# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure what prompt lookup is worth: the same answers with it and without it, in turn.

The answers are scripted, since a model with random weights writes none; their tokens cost what
those of real answers cost. Three kinds, behind the same mission log: one that quotes records and
names of the log, random tokens of which no three stand together twice, and prose about something
else. Then what the model itself writes, greedily, behind random prompts: how many of the answers
are the same with and without. Random weights seldom repeat themselves, so that nothing may be
guessed there; the same answers are therefore written once more with guesses that are made up, of
which most are right. Where they differ, two numbers tell why, in standard deviations of the
logits: by how much the token was preferred to the other one, and how far apart the logits are
when the answer is read row by row and when it is read in calls of several rows, which quantized
kernels round in another way. With --demo, or demo as MODEL, 30 questions in one mission of the
embedded model, too, whose answers are real.

    python bench/lookup.py MODEL [--demo] [--rounds 9] [--tokens 256] [--own-tokens 128]
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
import json
from pathlib import Path
import random
import statistics
import time
from typing import Any
from unittest.mock import patch

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.decoding.generation import Generation
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.decoding.prompt_lookup import PromptLookup
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import Sampling
from lfm_ros.prepare.open_model import open_prepared
from lfm_ros.serving.query import Query
from lfm_ros.serving.turn import Turn
import numpy as np

GREEDY = Sampling(temperature=0, min_p=0, repetition_penalty=1.0)
ON, OFF = 'on', 'off'
OWN_PROMPTS, OWN_LENGTH = 5, 64
NAMES = ('red toolbox', 'charging dock', 'north gate', 'blue crate', 'fire door', 'pump station',
         'cable drum', 'spare battery', 'loading bay', 'gas bottle')
PLACES = ('beside the second shelf of the hall', 'behind the conveyor', 'under the stairs',
          'at the end of the corridor', 'next to the workbench')
PROSE = """In the autumn my grandmother used to bake bread every Sunday. She would get up while
it was still dark, light the stove and set a bowl of dough near its warm side. We children slept
above the kitchen and woke because of the smell. Nobody had to call us. By the time we came down
she had already swept the yard, fed her hens and opened the shutters, so that a pale stripe of
morning lay across the floor. My brother cut the first slice although it was too hot to eat, and
she scolded him for it, smiling. Afterwards we walked to the river. Mist hung over the meadows,
the willows had turned yellow, and now and then an apple fell somewhere with a soft thud. Old
fishermen sat on the bank without saying much. One of them taught me how to whistle on a blade of
grass; I never managed to do it well, but he praised me anyway. In winter all this vanished
under snow. We played cards, read novels aloud to each other, mended stockings and waited for
letters from my uncle, who had gone abroad to build bridges. His stories grew longer with each
year, and none of us asked which parts were true. When I think about those days, I hear the clock
ticking, rain running down the gutter, and somebody humming a tune whose words we had all
forgotten long ago."""
QUESTIONS = (
    'The loading bay is at waypoint 31.', 'The charging dock is at waypoint 7.',
    'The red toolbox is at waypoint 23.', 'Where is the loading bay?',
    'Go to waypoint 31 at 0.5 m/s.', 'Where is the charging dock?', 'Go to the charging dock.',
    'The red toolbox moved to waypoint 41.', 'Where is the red toolbox?',
    'Where is the blue crate?', 'The blue crate is at waypoint 5.', 'Where is the blue crate?',
    'Go to the blue crate.', 'Stop.', 'The north gate is at waypoint 12.',
    'Where is the north gate?', 'Where is the loading bay?', 'Go to the north gate.',
    'Go to waypoint 12 at 0.8 m/s.', 'Where is the lift?', 'The lift is at waypoint 18.',
    'Where is the lift?', 'Go to the lift.', 'What have I told you?', 'Thank you.',
    'Where is the red toolbox?', 'Go to the red toolbox.', 'Go to waypoint 41 at 0.5 m/s.',
    'Where is the charging dock?', 'Stop.')


class Scripted:
    """A sampler that writes a script; it looks for the best token as a greedy one does."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = iter(ids)

    def choose(self, logits: np.ndarray) -> int:
        """Return the next token of the script."""
        logits.argmax()
        return next(self._ids)


class Watched(PromptLookup):
    """
    A draft whose guesses are noted.

    :cvar guesses: how many tokens there were, and what was guessed behind them.
    """

    guesses: list[tuple[int, list[int]]] = []

    def __init__(self, context: Sequence[int], most: int) -> None:
        super().__init__(context, most)
        self.written = 0

    def append(self, token: int) -> None:
        """Take note of a token of the answer."""
        super().append(token)
        self.written += 1

    def propose(self, most: int) -> list[int]:
        """Return what may come next."""
        found = super().propose(most)
        self.guesses.append((self.written, found))
        return found


class MadeUp(Watched):
    """Guesses of a known answer, 0 to 7 tokens at a time, sometimes with a wrong one."""

    def __init__(self, answer: Sequence[int], context: Sequence[int], most: int) -> None:
        super().__init__(context, most)
        self._answer = answer
        self._chance = random.Random(3)

    def propose(self, most: int) -> list[int]:
        """Return a guess."""
        count = max(0, min(most, self._chance.randint(0, 7)))
        found = list(self._answer[self.written:self.written + count])
        if found and self._chance.random() < 0.4:
            found[self._chance.randrange(len(found))] += 1
        self.guesses.append((self.written, found))
        return found


@dataclass
class Cost:
    """What tokens after the first of an answer took; may be added up."""

    seconds: float = 0.0
    tokens: int = 0
    runs: int = 0
    drafted: int = 0
    accepted: int = 0
    ids: list[int] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Return tokens per second."""
        return self.tokens / self.seconds

    def __iadd__(self, other: Cost) -> Cost:
        """Add another answer."""
        self.seconds += other.seconds
        self.tokens += other.tokens
        self.runs += other.runs
        self.drafted += other.drafted
        self.accepted += other.accepted
        self.ids = self.ids + other.ids
        return self


class Side:
    """
    The model with or without prompt lookup.

    Both sides use one session: two of the same model need not be equally fast, and that would
    count as what the lookup is worth.

    :param model: whose calls are counted from now on, by each of its sides.
    """

    def __init__(self, model: Model, lookup: bool) -> None:
        self.model = model
        self.runs = 0
        self._options = replace(model.options, prompt_lookup=lookup)
        run = model.runner.run

        def count(*values: Any, **more: Any) -> np.ndarray:
            self.runs += 1
            return run(*values, **more)

        model.runner.run = count  # type: ignore[method-assign]

    def take(self) -> None:
        """Have the model answer as this side does."""
        self.model.options = self._options

    def written(self, generation: Generation, advance: Callable[[], object]) -> Cost:
        """
        Let an answer be written to its end; its first token is there.

        :param advance: makes the next call of the model, or raises StopIteration.
        """
        first, runs = len(generation.ids), self.runs
        Watched.guesses.clear()
        started = time.perf_counter()
        try:
            while True:
                advance()
        except StopIteration:
            pass
        seconds, ids = time.perf_counter() - started, generation.ids
        return Cost(seconds, len(ids) - first, self.runs - runs, generation.drafted,
                    sum(same(guess, ids[place:]) for place, guess in Watched.guesses), ids)

    def behind(self, context: Sequence[int]) -> Callable[[Sequence[int] | int], Cost]:
        """Read a context; return what writes a script, or so many own tokens, behind it."""
        model, state = self.model, self.model.new_state()
        logits = np.empty(0)
        for chunk in model.chunks(context):
            logits = model.runner.run(state, chunk)[-1]
        logits, mark = logits.copy(), state.mark()

        def write(script: Sequence[int] | int) -> Cost:
            self.take()
            state.restore(mark)
            if isinstance(script, int):
                return begin(script)
            with patch('lfm_ros.engine.decoding.generation.Sampler', lambda *_: Scripted(script)):
                return begin(len(script))

        def begin(tokens: int) -> Cost:
            generation = Generation(model, state, GREEDY, Limits(tokens))
            steps = generation.steps(logits.copy(), context)
            next(steps)
            return self.written(generation, lambda: next(steps))

        return write


def same(ids: Sequence[int], others: Sequence[int]) -> int:
    """Return how many ids at the beginning are the same."""
    return next((i for i, (a, b) in enumerate(zip(ids, others)) if a != b),
                min(len(ids), len(others)))


def log_of(chance: random.Random) -> tuple[str, str]:
    """Return the text of a mission log, and an answer that quotes it with small changes."""
    records, lines = [], []
    for name in NAMES:
        record: dict[str, Any] = {
            'name': name, 'waypoint': chance.randint(1, 99),
            'speed': chance.randint(2, 15) / 10, 'battery': chance.randint(20, 99),
            'status': chance.choice(('reached', 'blocked', 'not visited'))}
        place = chance.choice(PLACES)
        records.append((record, place))
        lines.append(f'The {name} is at waypoint {record["waypoint"]}, {place}. Its record: '
                     f'{compact(record)}')
    pieces = []
    for record, place in chance.sample(records, 5):
        changed = {**record, 'speed': record['speed'] + 0.1 * chance.randint(1, 5)}
        changed['speed'] = round(changed['speed'], 1)
        pieces.append(f'{compact(changed)}\nThe {record["name"]} is at waypoint '
                      f'{record["waypoint"]}, {place}.')
    return 'Mission log of robot 4.\n' + '\n'.join(lines) + '\n', '\n'.join(pieces)


def compact(record: dict[str, Any]) -> str:
    """Return JSON as a robot would send it."""
    return json.dumps(record, separators=(',', ':'))


def without_repetition(model: Model, context: Sequence[int], tokens: int,
                       chance: random.Random) -> list[int]:
    """Return random tokens; no three of them stand together twice, nor in the context."""
    words = usual_ids(model)
    ids = list(context)
    seen = set(zip(ids, ids[1:], ids[2:]))
    while len(ids) < len(context) + tokens:
        three = ids[-2], ids[-1], chance.choice(words)
        if three not in seen:
            seen.add(three)
            ids.append(three[2])
    return ids[len(context):]


def usual_ids(model: Model) -> list[int]:
    """Return the ids that are no control tokens."""
    control = set(model.tokenizer.control_ids) | model.end_ids
    return [i for i in range(3, model.tokenizer.size) if i not in control]


def compare(rounds: int, write: dict[str, Callable[[], Cost]]) -> dict[str, Any]:
    """Write an answer with and without lookup, in turn; the first round does not count."""
    costs: dict[str, list[Cost]] = {side: [] for side in write}
    for number in range(rounds + 1):
        for side in (ON, OFF) if number & 1 else (OFF, ON):
            cost = write[side]()
            if number:
                costs[side].append(cost)
    last = costs[ON][-1]
    return {
        'tokens': last.tokens,
        'tokens_per_second': {s: round(statistics.median(c.speed for c in found), 2)
                              for s, found in costs.items()},
        'calls': {s: found[-1].runs for s, found in costs.items()},
        'drafted': last.drafted, 'accepted': last.accepted,
        'identical': last.ids == costs[OFF][-1].ids,
        'ratio': round(statistics.median(
            a.speed / b.speed for a, b in zip(costs[ON], costs[OFF])), 3)}


def scripted(sides: dict[str, Side], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison for each kind of scripted answer."""
    model, chance = sides[ON].model, random.Random(1)
    log, quoting = log_of(chance)
    context = [*model.template.preamble(), *model.tokenizer.encode(log)]
    tokens = arguments.tokens
    scripts = {'quotes the log': model.tokenizer.encode(quoting)[:tokens],
               'repeats nothing': without_repetition(model, context, tokens, chance),
               'other prose': model.tokenizer.encode(PROSE.replace('\n', ' '))[:tokens]}
    writers = {name: side.behind(context) for name, side in sides.items()}
    found: dict[str, Any] = {'context': len(context)}
    for kind, script in scripts.items():
        found[kind] = compare(arguments.rounds, {
            name: partial(write, script) for name, write in writers.items()})
    return found


def own_answers(sides: dict[str, Side], tokens: int) -> dict[str, Any]:
    """Return for each prompt where the model's own greedy answer differs; -1: nowhere."""
    chance, words = random.Random(2), usual_ids(sides[ON].model)
    rows: dict[str, list[dict[str, Any]]] = {'looked up': [], 'made up': []}
    for _ in range(OWN_PROMPTS):
        context = [*sides[ON].model.template.preamble(), *chance.choices(words, k=OWN_LENGTH)]
        plain = sides[OFF].behind(context)(tokens)
        write = sides[ON].behind(context)
        for kind, some in rows.items():
            with nullcontext() if kind == 'looked up' else patch(
                    'lfm_ros.engine.decoding.generation.PromptLookup',
                    lambda *values: MadeUp(plain.ids, *values)):
                cost = write(tokens)
            right = same(cost.ids, plain.ids)
            row: dict[str, Any] = {
                'first_difference': -1, 'calls': cost.runs, 'calls_without': plain.runs,
                'drafted': cost.drafted, 'accepted': cost.accepted}
            if cost.ids != plain.ids:
                row.update(rounding(sides[OFF].model, context, plain.ids, right, cost.ids[right]),
                           first_difference=right)
            some.append(row)
    return {'tokens': tokens, 'answers': rows, 'identical': {
        kind: sum(row['first_difference'] < 0 for row in some) for kind, some in rows.items()}}


def rounding(model: Model, context: Sequence[int], ids: Sequence[int], place: int,
             other: int) -> dict[str, float]:
    """
    Tell how near a decision was, and how much the size of the calls changes its logits.

    :param place: of the token that was chosen in ``ids``; ``other`` the one instead of it.
    """
    rows = []
    read = ids[:place + 1]
    first = len(read) % 8 + (8 if len(read) % 8 < 2 < len(read) else 0)  # 2 to 9 tokens
    for sizes in ([1] * len(read), [first, *[8] * ((len(read) - first) // 8)]):
        state, start = model.new_state(), 0
        for chunk in model.chunks(context):
            model.runner.run(state, chunk)
        found: list[np.ndarray] = []
        for size in sizes:
            found += list(model.runner.run(state, read[start:start + size], every=True).copy())
            start += size
        rows.append(found[place - 1])  # the last one is what follows the decision
    unit = float(rows[0].std())
    return {'preferred_by': round(float(rows[0][ids[place]] - rows[0][other]) / unit, 4),
            'logits_apart': round(float(np.abs(rows[0] - rows[1]).max()) / unit, 4)}


def demo_mission(side: Side) -> Cost:
    """Ask all questions in one new mission; the cost is that of the answers alone."""
    side.take()
    mission = Mission('demo', side.model, side.model.template.preamble())
    total = Cost()
    for question in QUESTIONS:
        turn = Turn(mission, Query(question), GREEDY, Limits(64))
        steps = turn.steps()
        while not turn.generation.ids:
            next(steps)
        first = turn.generation.ids[0]
        cost = side.written(turn.generation, lambda: next(steps))
        assert cost.ids[0] == first
        total += cost
    return total


def share(part: int, whole: int) -> str:
    """Return a share in percent; nothing of nothing is a dash."""
    return f'{100 * part / whole:.0f} %' if whole else '-'


def show(kinds: dict[str, Any]) -> None:
    """Print a table of comparisons."""
    print(f'{"":18}{"tokens":>7}{"on t/s":>9}{"off t/s":>9}{"ratio":>8}{"calls a token":>15}'
          f'{"drafted":>9}{"accepted":>10}')
    for kind, row in kinds.items():
        speed, tokens = row['tokens_per_second'], row['tokens']
        print(f'{kind:18}{tokens:7}{speed[ON]:9.1f}{speed[OFF]:9.1f}{row["ratio"]:8.3f}'
              f'{row["calls"][ON] / tokens:15.3f}{share(row["drafted"], tokens):>9}'
              f'{share(row["accepted"], row["drafted"]):>10}')
    print('drafted: of the tokens; accepted: of the drafted ones')


def show_own(own: dict[str, Any]) -> None:
    """Print how far the model's own answers are the same with and without lookup."""
    print(f'\nown greedy answers of {own["tokens"]} tokens beside those without lookup')
    for kind, rows in own['answers'].items():
        print(f'guesses {kind}: {own["identical"][kind]} of {len(rows)} have the same tokens')
        for number, row in enumerate(rows):
            where = row['first_difference']
            print(f'  {number}: {"the same" if where < 0 else f"other from token {where} on"}, '
                  f'{row["calls"]} calls, {row["calls_without"]} without, drafted '
                  f'{row["drafted"]}, accepted {row["accepted"]}'
                  + ('' if where < 0 else f'; preferred by {row["preferred_by"]:.3f}, logits '
                     f'apart by up to {row["logits_apart"]:.3f}'))


def open_sides(path: str, arguments: argparse.Namespace) -> dict[str, Side]:
    """Open a model, to be used with lookup and without."""
    model = open_prepared(path, ModelOptions(
        threads=arguments.threads, context_length=arguments.context),
        cache_dir=arguments.cache_dir)
    if not model.runner.can_rollback:
        raise SystemExit(f'lookup: {path} cannot take tokens back, prompt lookup is off there')
    return {ON: Side(model, True), OFF: Side(model, False)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('model', help='folder of the model, or demo for only that')
    parser.add_argument('--demo', action='store_true', help='the embedded model, too')
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--tokens', type=int, default=256, help='most of a scripted answer')
    parser.add_argument('--own-tokens', type=int, default=128, help="of the model's own answers")
    parser.add_argument('--threads', type=int, default=0)
    parser.add_argument('--context', type=int, default=4096, help='most tokens of a mission')
    parser.add_argument('--cache-dir', type=Path, help='with prepared graphs, or for them')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    arguments = parser.parse_args()
    with patch('lfm_ros.engine.decoding.generation.PromptLookup', Watched):
        result = measure(arguments)
    if arguments.json:
        print(json.dumps(result))
    else:
        show_all(result)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all that is measured."""
    result: dict[str, Any] = {'rounds': arguments.rounds}
    if arguments.model != 'demo':
        sides = open_sides(arguments.model, arguments)
        sides[ON].model.end_ids = frozenset()  # every answer gets its length
        result.update(model=sides[ON].model.name, scripted=scripted(sides, arguments),
                      own=own_answers(sides, arguments.own_tokens))
    if arguments.demo or arguments.model == 'demo':
        sides = open_sides('demo', arguments)
        result['demo'] = compare(arguments.rounds, {
            name: partial(demo_mission, side) for name, side in sides.items()})
    return result


def show_all(result: dict[str, Any]) -> None:
    """Print it."""
    if 'scripted' in result:
        context = result['scripted'].pop('context')
        print(f'{result["model"]}, {result["rounds"]} rounds, scripted behind {context} tokens')
        show(result['scripted'])
        show_own(result['own'])
    if 'demo' in result:
        print(f'\ndemo, {len(QUESTIONS)} questions in one mission, {result["rounds"]} rounds')
        show({'real answers': result['demo']})
        print(f'all tokens the same with and without: {result["demo"]["identical"]}')


if __name__ == '__main__':
    main()
