# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long the first answers with a JSON schema take in a fresh node, from client to client."""
from __future__ import annotations

import json
from statistics import median
import time
from typing import Any

from lfm_ros import msg
from node_client import Client
from node_support import running_node
from planner import COMMANDS
from planner import PLAN

OTHER = {**PLAN, 'description': 'compiled anew, the same in meaning'}
REQUESTS: list[tuple[str, Any]] = [
    ('free text, first', None), ('free text', None), ('schema, first of the node', PLAN),
    ('schema, second', PLAN), ('schema, third', PLAN), ('another schema, first', OTHER),
    ('another schema, second', OTHER)]


def main(starts: int) -> int:
    """Print milliseconds: medians over fresh nodes, with and without preload_formats."""
    for preload in (False, True):
        found = [_measure(preload) for _ in range(starts)]
        print(f'model.preload_formats: {preload}, {starts} fresh nodes, milliseconds')
        print(f'{"":28}{"median":>9}{"least":>9}{"most":>9}{"tokens":>8}')
        for place, (name, _) in enumerate(REQUESTS):
            times = sorted(1000 * run[place][0] for run in found)
            print(f'{name:28}{median(times):9.1f}{times[0]:9.1f}{times[-1]:9.1f}'
                  f'{found[0][place][1]:8}')
    return 0


def _measure(preload: bool) -> list[tuple[float, int]]:
    """Return seconds and tokens of every request to a fresh node."""
    with running_node(model='', model__path='demo', model__preload_formats=preload) as client:
        return [_ask(client, schema) for _, schema in REQUESTS]


def _ask(client: Client, schema: Any) -> tuple[float, int]:
    form = msg.ResponseFormat(json_schema=json.dumps(schema) if schema else '')
    started = time.perf_counter()
    response = client.ask(COMMANDS[0], aside=True, max_tokens=60, response_format=form)
    seconds = time.perf_counter() - started
    assert response.error_code == msg.Response.NONE, response.error_msg
    if schema:
        assert json.loads(response.text)['action'] == 'navigate', response.text
    return seconds, int(response.usage.generated_tokens)
