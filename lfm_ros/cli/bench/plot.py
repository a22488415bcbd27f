# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of `lfm bench`; the one module that needs matplotlib."""
from __future__ import annotations

from importlib import import_module
import logging
import os
from pathlib import Path
from typing import Any
import warnings

from lfm_ros.cli.bench.table import label
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

# title, key in a row, factor
PANELS = (('memory (RSS) in MB', 'rss_bytes', 1e-6),
          ('decode in tokens/s', 'decode_tokens_per_second', 1.0),
          ('first token of a turn of 20 tokens in ms', 'turn_seconds', 1e3))
_HEADROOM = 1.1  # of the axes above the highest point


class Plot:
    """
    A file for the curves, checked before anything is measured.

    :raises LfmError: when matplotlib is missing or the file cannot be written.
    """

    def __init__(self, name: str) -> None:
        try:
            logging.getLogger('matplotlib').setLevel(logging.ERROR)
            figure = import_module('matplotlib.figure').Figure
        except ImportError as error:
            raise LfmError(ErrorCode.INVALID_VALUE, f'--plot needs matplotlib ({error}): install '
                           "it with 'pip install matplotlib', or leave --plot out") from error
        self._path = Path(name)
        self._figure: Any = figure(figsize=(12, 4), layout='constrained')
        kinds = self._figure.canvas.get_supported_filetypes()
        folder = self._path.parent
        if '\0' in name or self._path.suffix[1:].lower() not in kinds:
            raise LfmError(ErrorCode.INVALID_VALUE, f'--plot is {name!r}: give a file that ends '
                           'in .png, .svg or .pdf')
        if self._path.is_dir() or not os.access(folder, os.W_OK) \
                or self._path.exists() and not os.access(self._path, os.W_OK):
            raise LfmError(ErrorCode.INVALID_VALUE, f'--plot is {name!r}, which cannot be '
                           'written: give a file in a folder of yours')

    def draw(self, result: dict[str, Any]) -> str:
        """Draw the rows of a result; return why that failed, empty: it did not."""
        models, machine = result['models'], result['machine']
        # The legend has a place of its own: no curve leaves room for it at every length.
        places = self._figure.add_gridspec(2, len(PANELS), height_ratios=(8, len(models)))
        for place, (title, key, factor) in enumerate(PANELS):
            axes = self._figure.add_subplot(places[0, place])
            for which, model in enumerate(models):
                rows = [row for row in result['rows'] if row['model'] == which]
                name = f"{'AB'[which]}: {label(model)}" if len(models) > 1 else label(model)
                axes.plot([row['history'] for row in rows],
                          [row[key] * factor for row in rows], 'o-', label=_plain(name))
            axes.set_title(title, fontsize='medium')
            axes.set_xlabel('history in tokens')
            if len({row['history'] for row in result['rows']}) > 1:
                axes.locator_params(axis='x', nbins=5, integer=True)
            else:
                axes.set_xticks([row['history'] for row in result['rows'][:1]])
            axes.set_ylim(0, _HEADROOM * max(1e-9, *(row[key] * factor
                                                     for row in result['rows'])))
            axes.grid(alpha=0.3)
        below = self._figure.add_subplot(places[1, :])
        below.set_axis_off()
        below.legend(*self._figure.axes[0].get_legend_handles_labels(), loc='center',
                     fontsize='small')
        self._figure.suptitle(_plain(
            f"{machine['board'] or machine['cpu']}, {machine['threads']} threads, "
            f"ONNX Runtime {machine['onnxruntime']}"), fontsize='medium')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # a letter of a name that the font lacks
                self._figure.savefig(self._path, dpi=120)
        except OSError as error:
            return f'{self._path} cannot be written ({error.strerror}): the curves are lost'
        return ''


def _plain(text: str) -> str:
    """Return text in which matplotlib sees no formula, and no half of a letter."""
    return text.encode(errors='replace').decode().replace('$', r'\$')
