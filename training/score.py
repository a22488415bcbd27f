# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write the score of an exported model and its model card."""

import json
from pathlib import Path
from typing import Any

from evaluate import Outcome, summarize

KINDS = {
    'recall': 'a place that was told', 'updated': 'a place that changed',
    'unknown': 'a place that was never told', 'go': 'go to a place that was told',
    'go_unknown': 'go to a place that was never told', 'command': 'a command, answered in JSON',
    'ack': 'a fact or an update, acknowledged', 'other': 'a state, the battery, a name',
    'chat': 'small talk',
}

CARD = """\
# The lfm_ros demo model

A small language model with the architecture of Liquid AI's LFM2 ({parameters:,} parameters,
`Lfm2ForCausalLM`, int8, dialect of onnxruntime-genai). It is not made by Liquid AI: it was
trained from nothing by `training/train_demo.py` of this repository, on missions made by a
program, so that the package can be tried and tested without a download. License: Apache-2.0.

It understands facts (`The dock is at waypoint 7.`, answered `Noted.`), updates
(`The dock moved to waypoint 9.`, answered `Updated.`), questions (`Where is the dock?`, answered
`The dock is at waypoint 9.` or `I do not know where the dock is.`), commands, answered in JSON
(`Go to the dock at 0.5 m/s.`), rooms as places, states, the battery level, the name of its user
and a little small talk; in English, with one to four lines per message, in missions of up to
about 1,000 tokens. It knows nothing else; what it says about anything else means nothing.

Whole answers that are right, word for word, on held-out missions (greedy, its own history):

| asked | right | asked times |
|---|---|---|
{rows}

`score.json` holds the same by turns and tokens between fact and question, and by what was held
out: `pair` entities at places never trained, `entity` names never trained, `word` made-up words
never trained, `wording` sentences never trained.

Made with `python training/train_demo.py` in {minutes:.0f} minutes ({cpu_minutes:.0f} minutes of
CPU time), seed {seed}, {steps:,} steps, {tokens:,} tokens.
"""


def write_score(folder: Path, outcomes: list[Outcome], facts: dict[str, Any]) -> dict[str, Any]:
    """Write score.json: the facts of the run and [percent right, asked] per kind and column."""
    score = dict(facts, exact_match=summarize(outcomes))
    lines = ',\n'.join(f'    {json.dumps(kind)}: {json.dumps(columns)}'
                       for kind, columns in score['exact_match'].items())
    head = ''.join(f'  {json.dumps(key)}: {json.dumps(value)},\n' for key, value in facts.items())
    (folder / 'score.json').write_text(f'{{\n{head}  "exact_match": {{\n{lines}\n  }}\n}}\n')
    return score


def write_model_card(folder: Path, score: dict[str, Any]) -> None:
    """Write README.md with the score in it."""
    table = score['exact_match']
    rows = '\n'.join(f'| {text} | {table[kind]["all"][0]} % | {table[kind]["all"][1]} |'
                     for kind, text in KINDS.items() if kind in table)
    (folder / 'README.md').write_text(CARD.format(
        rows=rows, minutes=score['wall_s'] / 60, cpu_minutes=score['cpu_s'] / 60, **score))
