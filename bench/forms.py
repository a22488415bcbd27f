# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
What a form costs: random schemas and prompts, and the time that a schema adds to each token.

    python bench/forms.py --schemas 1000                        validity, on the demo model
    python bench/forms.py --model FOLDER --rounds 5             time per token, with and without

Both print one JSON object. Times are compared in turn, by the median of the ratios of the rounds.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path
import random
from statistics import median
import sys
import time

from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.prepare.open_model import open_prepared
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.scheduler import Scheduler

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test' / 'support'))
from schemas import random_schema  # noqa: E402
from schemas import valid  # noqa: E402

PROMPTS = ['Where is the pump?', 'Go to waypoint 12.', 'Say something.', 'The door is open.',
           'What do you see?', 'Stop.', '']
FREE = json.dumps({'type': 'array', 'items': {'type': 'string', 'minLength': 400}, 'minItems': 9})


def check_schemas(scheduler: Scheduler, count: int) -> dict[str, object]:
    """Ask with random schemas; return how many answers were complete, and how many valid."""
    found = {'schemas': count, 'complete': 0, 'cut': 0, 'valid': 0, 'refused': 0}
    for seed in range(count):
        chance = random.Random(seed)
        schema = random_schema(chance)
        answer = scheduler.submit(Query(
            (chance.choice(PROMPTS) + ' ' + ' '.join(chance.sample(PROMPTS, 2))).strip(),
            aside=True, response_format=ResponseFormat(json.dumps(schema)), max_tokens=200,
            sampling={'temperature': chance.choice([0.0, 0.3, 1.0, 2.0]),
                      'min_p': chance.choice([0.0, 0.15]), 'top_k': chance.choice([0, 5]),
                      'seed': seed})).wait()
        if answer.error_code:
            found['refused'] += 1
        elif answer.finish_reason == 'stop':
            found['complete'] += 1
            found['valid'] += valid(json.loads(answer.text), schema)
        else:
            found['cut'] += 1
    return found


def time_tokens(scheduler: Scheduler, rounds: int, tokens: int) -> dict[str, object]:
    """Return milliseconds per token without a form, with a regular expression and a schema."""
    forms = {'free': ResponseFormat(), 'regex': ResponseFormat(
        regex='(.|\\n)*'), 'schema': ResponseFormat(FREE)}
    times: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):
        for name, form in forms.items():
            answer = scheduler.submit(Query(
                'Say something.', aside=True, response_format=form, max_tokens=tokens,
                sampling={'temperature': 1.0, 'min_p': 0.0, 'seed': number})).wait()
            if number and answer.usage.generated_tokens > tokens // 2:
                times[name].append(1000 / answer.usage.tokens_per_second)
    return {'ms_per_token': {name: round(median(each), 3) for name, each in times.items() if each},
            'over_free_ms': {
                name: round(median(a - b for a, b in zip(times[name], times['free'])), 3)
                for name in ('regex', 'schema') if times[name]}}


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='demo')
    parser.add_argument('--schemas', type=int, default=0)
    parser.add_argument('--rounds', type=int, default=0)
    parser.add_argument('--tokens', type=int, default=128)
    parser.add_argument('--threads', type=int, default=2)
    arguments = parser.parse_args()
    model = open_prepared(arguments.model, ModelOptions(threads=arguments.threads,
                                                        prompt_lookup=False))
    started = time.perf_counter()
    model.grammars
    result: dict[str, object] = {'model': model.name, 'vocabulary': model.vocabulary,
                                 'first_use_ms': round(1000 * (time.perf_counter() - started), 1)}
    scheduler = Scheduler(MissionStore(model), defaults=RequestDefaults(Sampling(), 256))
    try:
        if arguments.schemas:
            result['random_schemas'] = check_schemas(scheduler, arguments.schemas)
        if arguments.rounds:
            result.update(time_tokens(scheduler, arguments.rounds, arguments.tokens))
    finally:
        scheduler.stop()
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    main()
