# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Describe a model folder: its graph, its files and the size of its state."""
from __future__ import annotations

import argparse
from typing import Any

from lfm_ros.cli.options import open_model
from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.errors import printable
import onnxruntime

MAX_ROW = 4000  # characters; files and types are named as the folder says


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""


def run(arguments: argparse.Namespace) -> int:
    """Open the model, run a few tokens and print what was found."""
    model = open_model(arguments, with_text=False)
    info = model.describe()
    info['onnxruntime'] = onnxruntime.__version__
    info['tokenizer'] = bool(model.folder.file('tokenizer.json'))
    if arguments.json:
        print_json(info)
        return 0
    per_token, fixed = info['state_bytes_token'], info['state_bytes_fixed']
    context = info['context_length']
    total = fixed + per_token * context
    windows = f"{info['conv_layers']} convolutions of {info['conv_columns']} columns, " \
        if info['conv_layers'] else ''
    rows = {
        'model': f"{info['name']} ({info['model_type'] or 'of unknown type'})",
        'graph': info['graph'],
        'dialect': info['dialect'] + (', position_ids' if info['position_ids'] else '')
        + (', logits of the last token only' if info['head_pruned'] else ''),
        'layers': f"{windows}{info['attention_layers']} attentions",
        'vocabulary': f"{info['vocabulary']} tokens"
        + ('' if info['tokenizer'] else ', no tokenizer.json'),
        'state': f'{fixed:,} bytes + {per_token:,} per token ({total / 1e6:,.1f} MB at '
        f"{context:,} tokens), {', '.join(info['state_dtypes'])}",
        'key-values': 'appended in place' if info['shared_kv'] else 'copied at every token: '
        'this graph cannot append in place, long missions get slower',
        'prefill': 'in chunks' if info['reads_in_chunks'] else 'token by token: this graph cannot '
        'prefill in chunks, long prompts are slow',
        'prepared': _prepared(info),
        'images': f"up to {info['image_tokens']} tokens each"
        + (', more in tiles' if info['image_tiles'] > 1 else '') if info['vision'] else 'none',
        'runtime': f"ONNX Runtime {info['onnxruntime']}, {', '.join(info['providers'])}",
        'files': ', '.join(f'{name} {_size(size)}' for name, size in
                           info['files'].items()),
        'fingerprint': info['fingerprint'],
    }
    for name, text in rows.items():
        print_text(f'{name:<12} {printable(text, MAX_ROW)}')
    return 0


def _prepared(info: dict[str, Any]) -> str:
    if not info['prepared'] and info['answers_together'] == 1:
        return 'not yet for this machine: the node does that at its first configure'
    together, lookup = info['answers_together'], info['prompt_lookup']
    return (f'batches of up to {together} missions' if together > 1 else
            'one mission at a time, batch rows are not independent') + \
        ('; prompt lookup' if lookup else '; no prompt lookup')


def _size(count: int) -> str:
    return f'{count / 1e6:,.1f} MB' if count >= 1e6 else f'{count / 1e3:,.1f} kB'
