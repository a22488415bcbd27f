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

PICTURE_KINDS = {
    'see': 'what is in the picture', 'colour': 'the colour of a shape',
    'place': 'where a shape is', 'there': 'whether it is there',
    'gauge': 'what a gauge shows', 'shown': 'a picture to remember, acknowledged',
    'unseen': 'a question before any picture',
}

CALL_KINDS = {
    'call': 'a command, answered with a call', 'call_two': 'two commands, answered with two calls',
    'call_known': 'go to a place that was told', 'call_none': 'a command that no tool is for',
    'result': 'what a tool gave back, said in a sentence',
    'recall': 'a place that was told', 'updated': 'a place that changed',
    'unknown': 'a place that was never told', 'go_unknown': 'go to a place that was never told',
    'ack': 'a fact or an update, acknowledged', 'other': 'a state, the battery, a name',
    'chat': 'small talk',
}

CARD = """\
# The lfm_ros demo model

A small model with the architecture of Liquid AI's LFM2-VL ({parameters:,} parameters,
`Lfm2VlForConditionalGeneration`: a SigLIP2 tower, float16, and a LFM2 decoder, int8; dialect of
onnxruntime-genai). It is not made by Liquid AI: it was trained from nothing by
`training/train_demo.py` of this repository, on missions and pictures made by a program, so that
the package can be tried and tested without a download. License: Apache-2.0.

It understands facts (`The dock is at waypoint 7.`, answered `Noted.`), updates
(`The dock moved to waypoint 9.`, answered `Updated.`), questions (`Where is the dock?`, answered
`The dock is at waypoint 9.` or `I do not know where the dock is.`), commands, answered in JSON
(`Go to the dock at 0.5 m/s.`), rooms as places, states, the battery level, the name of its user
and a little small talk; in English, with one to four lines per message, in missions of up to
about 1,000 tokens.

It was taught, too, to answer a command with a call of one of up to five listed tools, or of two
one after the other (`Go to waypoint 12 and take a picture.`), with `I have no tool for that.`
where none is for it, and what a tool gave back with a sentence. The table below says how often
that is right.

In a picture it sees one or two large shapes (circle, square, triangle, star, cross; red, blue,
green, yellow, white, black, orange, purple) on a plain background, or one round gauge from 0 to
100. It says what it sees, from left to right (`I see a red circle and a blue square.`), colours,
places (`The star is at the top left.`), whether something is there and what the gauge shows
(`The gauge shows 40.`), with the picture or some turns after it; the last picture is the one that
counts.

It knows nothing else; what it says about anything else means nothing.

Whole answers that are right, word for word, on held-out missions (greedy, its own history):

| asked | right | asked times |
|---|---|---|
{rows}

The same on pictures that were never drawn for training, in missions with other turns between:

| asked | right | asked times |
|---|---|---|
{picture_rows}

The same in missions with a list of tools, in the engine of the node; of a call, the name and the
arguments have to be right:

| asked | right | asked times |
|---|---|---|
{call_rows}

`score.json` holds the same by turns and tokens between fact and question, and by what was held
out: `pair` entities at places never trained, `entity` names never trained, `word` made-up words
never trained, `wording` sentences never trained; with tools, `list` nothing but the list as a
whole, `tool` names of tools never trained, `wording` sentences and descriptions never trained.

Made with the phases of `training/train_demo.py`: {runs}. All in all {minutes:.0f} minutes
({cpu_minutes:.0f} minutes of CPU time), {steps:,} steps, {tokens:,} tokens, {scenes:,} drawn
scenes.
"""


def write_score(folder: Path, outcomes: list[Outcome], seen: list[Outcome],
                called: list[Outcome], facts: dict[str, Any]) -> dict[str, Any]:
    """Write score.json: the facts of the run and [percent right, asked] per kind and column."""
    score = dict(facts, exact_match=summarize(outcomes), vision=summarize(seen),
                 tools=summarize(called))
    parts = [f'  {json.dumps(key)}: {json.dumps(value)}' for key, value in facts.items()]
    for table in ('exact_match', 'vision', 'tools'):
        lines = ',\n'.join(f'    {json.dumps(kind)}: {json.dumps(columns)}'
                           for kind, columns in score[table].items())
        parts.append(f'  {json.dumps(table)}: {{\n{lines}\n  }}')
    joined = ',\n'.join(parts)
    (folder / 'score.json').write_text(f'{{\n{joined}\n}}\n')
    return score


def write_model_card(folder: Path, score: dict[str, Any]) -> None:
    """Write README.md with the score in it."""
    (folder / 'README.md').write_text(CARD.format(
        rows=_rows(KINDS, score['exact_match'], 'all'),
        picture_rows=_rows(PICTURE_KINDS, score['vision'], 'all'),
        call_rows=_rows(CALL_KINDS, score['tools'], 'all'),
        minutes=score['wall_s'] / 60, cpu_minutes=score['cpu_s'] / 60, **score))


def _rows(names: dict[str, str], table: dict[str, Any], column: str) -> str:
    return '\n'.join(f'| {text} | {table[kind][column][0]} % | {table[kind][column][1]} |'
                     for kind, text in names.items() if column in table.get(kind, {}))
