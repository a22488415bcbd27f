# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `lfm top` shows on a terminal; the one module that needs rich."""
from __future__ import annotations

from typing import Any

from lfm_ros.cli.output import visible
from lfm_ros.cli.top.node import CONTEXT_LENGTH
from lfm_ros.cli.top.node import LEVELS
from lfm_ros.cli.top.node import Watcher
from rich.console import Console
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

STYLES = {'active': 'green', 'OK': 'green', 'WARN': 'yellow', 'ERROR': 'bold red'}
COLUMNS = ('turns', 'tokens', 'pending', 'memory', 'stored', 'idle')
DROPPED = ('pending', 'stored', 'turns', 'memory', 'idle')  # where there is no room, in turn
_AROUND_MISSIONS = 3  # lines: an empty one, the head of the table, how many more there are
_GAP = 2  # columns of the terminal
_SHORTEST_NAME = 8


class View:
    """
    A view of one node, drawn again and again; a context manager for the time in which it is live.

    :param watcher: what the node tells.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._live.stop()

    @property
    def is_live(self) -> bool:
        """Return whether there is a terminal on which it can be drawn again."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def print(self) -> None:
        """Print all of it once."""
        self._console.print(Group(self._facts(), self._missions(None)))

    def refresh(self) -> None:
        """Draw as much of it as the terminal has lines for."""
        facts = self._facts()
        lines = self._console.height - len(self._console.render_lines(facts)) - _AROUND_MISSIONS
        self._live.update(Group(facts, self._missions(max(lines, 0))), refresh=True)

    @property
    def _style(self) -> str:
        return 'dim' if self.watcher.failure else ''

    def _facts(self) -> Table:
        status, failure = self.watcher.status, self.watcher.failure
        assert status, 'no data yet'
        table = Table.grid(padding=(0, _GAP))
        table.add_column(style='bold', no_wrap=True)
        table.add_column(overflow='fold')
        state = plain('gone or silent' if failure else status.state,
                      'bold red' if failure else STYLES.get(status.state, 'yellow'))
        title = [plain(status.model or 'no model'), state]
        if self._live.is_started:
            title.append(Text('q quits', 'dim'))
        table.add_row(plain(self.watcher.name), Text('  ').join(title))
        if failure:
            table.add_row('', plain(failure, 'bold red'))
        limit = f' of {size(status.state_bytes_limit)}' if status.state_bytes_limit else ''
        device = f', on the GPU {size(status.device_bytes)}' if status.device_bytes else ''
        if status.device_bytes_limit:
            device += f' of {size(status.device_bytes_limit)}'
        kept = plain(status.durability_error, 'yellow') if status.durability_error else \
            f'{size(status.stored_bytes)} of checkpoints' if status.durable else \
            'nothing: missions end with the node'
        running = f', answering {status.running_request_id}' if status.running_request_id else ''
        speed = f'{status.tokens_per_second:.1f} tokens/s' if status.tokens_per_second else 'none'
        for name, text in (
                ('memory', f'{size(status.rss_bytes)}, states {size(status.state_bytes)}{limit}'
                 + device),
                ('stored', kept),
                ('queue', plain(f'{status.queue_length} of {status.queue_size} wait{running}')),
                ('speed' if status.running_request_id else 'last answer', speed),
                ('answered', f'{status.answered}, {status.failed} failed'),
                ('health', self._health())):
            table.add_row(name, text, style=self._style)
        return table

    @property
    def _context_length(self) -> str:
        """The most tokens that a mission can have; empty as long as it is not known."""
        found = self.watcher.diagnostics
        values = {pair.key: pair.value for pair in found.values} if found else {}
        return values.get(CONTEXT_LENGTH, '')

    def _health(self) -> Text:
        found = self.watcher.diagnostics
        if found is None:
            return Text('no diagnostics yet', 'yellow')
        level = LEVELS[found.level[0]]
        return Text('  ').join([Text(level, STYLES.get(level, '')), plain(found.message)])

    def _missions(self, most: int | None) -> Group:
        """
        Return a table of the missions, those that were used last first.

        :param most: lines that it may have; None: as many as there are missions.
        """
        assert self.watcher.status, 'no data yet'
        missions = sorted(self.watcher.status.missions, key=lambda m: m.idle_seconds)
        limit = self._context_length
        cells = [(str(m.turns), f'{m.tokens}{limit and f"/{limit}"}', str(m.pending_tokens),
                  size(m.bytes) if m.resident else 'aside', size(m.stored_bytes),
                  duration(m.idle_seconds)) for m in missions[:most]]
        columns = dict(zip(COLUMNS, zip(COLUMNS, *cells)))
        for name in DROPPED:
            taken = sum(max(map(len, column)) + _GAP for column in columns.values())
            if taken + _SHORTEST_NAME > self._console.width:
                del columns[name]
        taken = sum(max(map(len, column)) + _GAP for column in columns.values())
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style='bold')
        table.add_column('mission', no_wrap=True)
        for head in columns:
            table.add_column(head, justify='right', no_wrap=True)
        for mission, row in zip(missions, [*zip(*columns.values())][1:]):
            shown = plain(mission.mission_id)  # rich would cut numbers as well as names
            shown.truncate(max(self._console.width - taken, _SHORTEST_NAME), overflow='ellipsis')
            table.add_row(shown, *row, style=self._style)
        left = len(missions[most:]) if most is not None else 0
        rest = f'and {left} more' if left else '' if missions else 'no missions'
        return Group('', table, *([rest] if rest else []))


def plain(text: str, style: str = '') -> Text:
    """Return text from outside so that it can neither move the cursor nor colour anything."""
    return Text(visible(text, layout=''), style)


def size(count: int) -> str:
    """Return bytes for people."""
    value, unit = float(count), 'B'
    for unit in ('B', 'kB', 'MB', 'GB'):
        if value < 999.95 or unit == 'GB':
            break
        value /= 1e3
    return f'{value:.0f} {unit}' if unit == 'B' else f'{value:.1f} {unit}'


def duration(seconds: float) -> str:
    """Return a time for people."""
    for unit, length in (('d', 86400), ('h', 3600), ('min', 60)):
        if seconds >= length:
            return f'{seconds / length:.0f} {unit}'
    return f'{seconds:.0f} s'
