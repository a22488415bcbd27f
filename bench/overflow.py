# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Let one mission go on far beyond its context, with each way to make room.

    python bench/overflow.py MODEL [--tokens 100000] [--context 4096]

prints memory and speed at the beginning and at the end.

    python bench/overflow.py demo --recall [--missions 40] [--context 512]

plays held-out missions of training/missions.py in a context that is too short for them and counts
right answers about places: those that were told within what the mission still holds, and all.
"""
from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
import sys
import time

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'training'))

from lfm_ros.conversation.context_window import FORGET  # noqa: E402
from lfm_ros.conversation.context_window import SLIDE  # noqa: E402
from lfm_ros.conversation.mission import Mission  # noqa: E402
from lfm_ros.engine.decoding.limits import Limits  # noqa: E402
from lfm_ros.engine.model import Model  # noqa: E402
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402
from lfm_ros.engine.sampling import Sampling  # noqa: E402
from lfm_ros.process import return_large_memory  # noqa: E402
from lfm_ros.process import rss_bytes  # noqa: E402
from lfm_ros.serving.memory_budget import in_mb  # noqa: E402
from lfm_ros.serving.query import Query  # noqa: E402
from lfm_ros.serving.turn import Turn  # noqa: E402
from missions import MissionMaker  # noqa: E402
import numpy as np  # noqa: E402

GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0)
LINE = 'The red toolbox was seen at waypoint 17 beside the second shelf of the north hall. '


def ask(mission: Mission, prompt: str, tokens: int) -> Turn:
    """Do one turn."""
    turn = Turn(mission, Query(prompt), GREEDY, Limits(tokens))
    for _ in turn.steps():
        pass
    return turn


def endure(path: str, policy: str, tokens: int, context: int) -> None:
    """Read and write that many tokens in one mission; print memory and speed on the way."""
    model = Model(path, ModelOptions(context_length=context))
    model.end_ids = frozenset()
    mission = Mission('m', model, model.template.preamble(''), overflow=policy)
    done, speeds, longest, made_room = 0, [], 0.0, 0
    next_report, started = 0, time.monotonic()
    while done < tokens:
        before = time.monotonic()
        turn = ask(mission, LINE * 12, 32)
        longest = max(longest, time.monotonic() - before)
        made_room += turn.usage(0.0).forgotten_tokens > 0
        done += turn.prompt_tokens + len(turn.generation.ids)
        speeds.append(turn.generation.tokens_per_second)
        if done >= next_report:
            print(f'{policy:6} {done:7} tokens, {len(mission.ids):5} held, state '
                  f'{in_mb(mission.nbytes)} MB, RSS {in_mb(rss_bytes())} MB', flush=True)
            next_report += tokens // 10
    quarter = len(speeds) // 4
    logits = model.runner.run(mission.state.copy(), [3])
    print(f'{policy:6} decode tokens/s: first quarter {np.median(speeds[:quarter]):.1f}, last '
          f'quarter {np.median(speeds[-quarter:]):.1f}; {time.monotonic() - started:.0f} s in '
          f'all, longest turn {longest:.2f} s, made room {made_room} times, logits '
          f'{"finite" if np.isfinite(logits).all() else "NOT FINITE"}', flush=True)


def recall(path: str, policy: str, missions: int, context: int) -> None:
    """Print how many answers about places are right in a context that is too short."""
    model = Model(path, ModelOptions(context_length=context))
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for number in range(missions):
        maker = MissionMaker(40_000 + number, 'pair')
        held = Mission('m', model, model.template.preamble(''), overflow=policy)
        for turn in maker.mixed(40).turns:
            answer = ask(held, turn.user, 40).generation.text
            words = ' '.join(t.prompt for t in held.turns[:-1])
            kind = turn.kind
            if kind in ('recall', 'updated'):
                entity = turn.answer.partition(' is ')[0].removeprefix('The ')
                place = turn.answer.rstrip('.').split()[-1]
                kind += ' held' if f'{entity} ' in words and place in words else ' gone'
            asked[kind] += 1
            right[kind] += answer == turn.answer
    kinds = ('recall held', 'updated held', 'recall gone', 'updated gone', 'unknown', 'command')
    print(f'{policy:6}', '; '.join(f'{kind} {100 * right[kind] / max(1, asked[kind]):.1f} % of '
                                   f'{asked[kind]}' for kind in kinds), flush=True)


def main() -> None:
    """Run both ways to make room."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('model')
    parser.add_argument('--tokens', type=int, default=100_000)
    parser.add_argument('--context', type=int, default=0)
    parser.add_argument('--recall', action='store_true')
    parser.add_argument('--missions', type=int, default=40)
    arguments = parser.parse_args()
    return_large_memory()
    for policy in (SLIDE, FORGET):
        if arguments.recall:
            recall(arguments.model, policy, arguments.missions, arguments.context or 512)
        else:
            endure(arguments.model, policy, arguments.tokens, arguments.context or 4096)
    if arguments.recall:
        recall(arguments.model, 'refuse', arguments.missions, 4096)


if __name__ == '__main__':
    main()
