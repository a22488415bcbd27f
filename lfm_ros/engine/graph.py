# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph takes and gives, read from its own inputs and outputs."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
import re
from typing import Any

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

DTYPES: dict[str, np.dtype] = {
    'tensor(float)': np.dtype(np.float32), 'tensor(float16)': np.dtype(np.float16),
    'tensor(int8)': np.dtype(np.int8), 'tensor(uint8)': np.dtype(np.uint8),
    'tensor(int64)': np.dtype(np.int64), 'tensor(int32)': np.dtype(np.int32),
}
KEEP_NAMES = ('num_logits_to_keep', 'logits_to_keep')
# What lfm_ros.prepare adds to a graph.
COMPANY = 'company'  # bool: every row of the call belongs to another state
LONG = 'long'        # bool: use the attention that is fast for many tokens
SLOT = 'slot.'       # slot.1.past_key_values.2.key: of the second state of the call
HISTORY = 'history.'  # history.0: all columns that the windows of a call were cut from
ROWS = 'rows.'        # rows.2.key: what a call with the long attention adds

MAX_ROW_BYTES = 64 << 20  # of a part of the state; those of the field have some kB

_KEY_VALUE = re.compile(r'past_key_values\.(\d{1,6})\.(key|value)')
_CONV_D1 = re.compile(r'past_conv\.(\d{1,6})')      # transformers.js: L columns
_CONV_D2 = re.compile(r'past\.(\d{1,6})\.conv')     # onnxruntime-genai >= 0.16: L-1 columns


@dataclass(frozen=True)
class StateTensor:
    """
    One part of the state: an input of the graph and the output that follows it.

    :param shape: of the state at length 0, batch 1: ``(1, hidden, columns)`` for a convolution,
        ``(1, heads, 0, head_dim)`` for keys and values, whose axis 2 counts tokens.
    """

    name: str
    output: str
    layer: int
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def grows(self) -> bool:
        """Tell whether every token adds a row."""
        return self.kind != 'conv'

    @property
    def row_bytes(self) -> int:
        """Return bytes per token for keys and values, bytes in all for a convolution."""
        return math.prod(n for n in self.shape if n) * self.dtype.itemsize


@dataclass(frozen=True)
class GraphSignature:
    """
    The inputs and outputs of a decoder graph.

    :param ids: name of the token input ``[1, S]``; ``ids_dtype`` its type.
    :param hidden: 0, or the numbers of an embedding, where the graph takes these instead of ids
        (the decoder of a vision-language model): then ``ids`` names an input ``[1, S, hidden]``.
    :param mask: name of the attention mask input ``[1, past + S]``, if it has one.
    :param positions: name of the position input ``[1, S]``, if it has one.
    :param keep: name of the scalar input "how many logits", if it has one.
    :param history: outputs ``[1, hidden, columns + S]``, one for each convolution, of which every
        window within the call is a slice; empty: there are none.
    :param slots: how many states can take a step in one call; 0: only one.
    :param long: whether it has another attention for many tokens, see :data:`LONG`.
    """

    ids: str
    ids_dtype: np.dtype
    mask: str
    mask_dtype: np.dtype
    positions: str
    positions_dtype: np.dtype
    keep: str
    keep_dtype: np.dtype
    keep_rank: int
    logits: str
    logits_dtype: np.dtype
    states: tuple[StateTensor, ...]
    dialect: str
    hidden: int = 0
    history: tuple[str, ...] = ()
    slots: int = 0
    long: bool = False

    @property
    def conv(self) -> list[StateTensor]:
        """Return the convolution windows."""
        return [t for t in self.states if not t.grows]

    @property
    def key_value(self) -> list[StateTensor]:
        """Return keys and values."""
        return [t for t in self.states if t.grows]


def read_signature(inputs: Sequence[Any], outputs: Sequence[Any],
                   config: dict[str, Any], genai: dict[str, Any]) -> GraphSignature:
    """
    Read the signature of a decoder graph.

    :param inputs: ``session.get_inputs()``: objects with name, type and shape.
    :param outputs: ``session.get_outputs()``.
    :param config: the language part of config.json, for sizes that the graph leaves open.
    :param genai: genai_config.json, likewise.
    """
    by_name = {i.name: i for i in inputs}
    out_names = {o.name: o for o in outputs}
    ids = 'inputs_embeds' if 'input_ids' not in by_name else 'input_ids'
    if ids not in by_name or 'logits' not in out_names:
        raise LfmError(ErrorCode.MODEL_FOREIGN, 'this ONNX file is not a language model: it has '
                       f'inputs {_list(by_name)} and outputs {_list(out_names)} instead of '
                       'input_ids and logits')
    head_dim = _head_dim(config, genai)
    states = []
    dialects = set()
    plain = {ids, 'attention_mask', 'position_ids', COMPANY, LONG, *KEEP_NAMES}
    for item in inputs:
        if item.name in plain or item.name.startswith(SLOT):
            continue
        state, dialect = _state_tensor(item, config, head_dim)
        if state.output not in out_names:
            raise LfmError(ErrorCode.MODEL_FOREIGN, f'this graph takes {item.name} but does not '
                           f'give {state.output}: export it again')
        states.append(state)
        dialects.add(dialect)
    if not states:
        raise LfmError(ErrorCode.MODEL_FOREIGN, 'this graph keeps no state (no past_conv, '
                       'past.N.conv or past_key_values inputs): export it with its cache')
    keep = next((n for n in KEEP_NAMES if n in by_name), '')
    dialects.discard('kv-only')
    states.sort(key=lambda t: (t.layer, t.kind))
    history = tuple(f'{HISTORY}{t.layer}' for t in states if not t.grows)
    return GraphSignature(
        ids=ids, ids_dtype=_dtype(by_name[ids]),
        mask='attention_mask' if 'attention_mask' in by_name else '',
        mask_dtype=_dtype(by_name.get('attention_mask')),
        positions='position_ids' if 'position_ids' in by_name else '',
        positions_dtype=_dtype(by_name.get('position_ids')),
        keep=keep, keep_dtype=_dtype(by_name.get(keep)),
        keep_rank=len(by_name[keep].shape) if keep else 0,
        logits='logits', logits_dtype=_dtype(out_names['logits']),
        states=tuple(states),
        history=history if out_names.keys() >= set(history) else (),
        slots=sum(f'{SLOT}{i}.seqlens' in by_name for i in range(len(by_name))),
        long=LONG in by_name,
        dialect='+'.join(sorted(dialects)) or 'kv-only',
        hidden=_hidden(by_name[ids], config) if ids == 'inputs_embeds' else 0)


def _state_tensor(item: Any, config: dict[str, Any], head_dim: int) -> tuple[StateTensor, str]:
    name = item.name
    if not (_KEY_VALUE.fullmatch(name) or _CONV_D1.fullmatch(name) or _CONV_D2.fullmatch(name)):
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'this graph needs the input {name}, which this '
                       'version cannot give: take another export of the model')
    dtype = _dtype(item)
    rank = 4 if _KEY_VALUE.fullmatch(name) else 3
    if len(item.shape) != rank:
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'{name} has the shape {item.shape} in the graph '
                       f'instead of {rank} dimensions: export it again')
    if match := _KEY_VALUE.fullmatch(name):
        heads, width = item.shape[1], item.shape[3]
        if not isinstance(heads, int):
            heads = config.get('num_key_value_heads') or config.get('num_attention_heads') or 0
        if not isinstance(width, int):
            width = head_dim // 2 if dtype == np.uint8 else head_dim  # uint8 packs two int4
        shape: tuple[int, ...] = (1, heads, 0, width)
        state = StateTensor(name, name.replace('past_key_values', 'present', 1),
                            int(match[1]), match[2], shape, dtype)
        dialect = 'kv-only'
    else:
        layer = int(re.findall(r'\d+', name)[0])
        hidden, columns = item.shape[1], item.shape[2]
        dialect = 'past_conv' if name.startswith('past_conv') else 'past.conv'
        if not isinstance(hidden, int):
            hidden = config.get('hidden_size') or 0
        if not isinstance(columns, int):
            columns = config.get('conv_L_cache', 3) - (dialect == 'past.conv')
        shape = (1, hidden, columns)
        state = StateTensor(name, name.replace('past', 'present', 1), layer, 'conv',
                            shape, dtype)
    if not all(n > 0 for i, n in enumerate(shape) if not (state.grows and i == 2)):
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'the size of {name} is open in the graph '
                       f'({item.shape}) and config.json does not give it: add config.json')
    if state.row_bytes > MAX_ROW_BYTES:
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'{name} would take {state.row_bytes} bytes for '
                       'one token: export the model again, and copy its config.json')
    return state, dialect


def _hidden(item: Any, config: dict[str, Any]) -> int:
    size = item.shape[-1] if len(item.shape) == 3 else 0
    size = size if isinstance(size, int) else config.get('hidden_size') or 0
    if size < 1:
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'the size of {item.name} is open in the graph '
                       f'({item.shape}) and config.json does not give it: add config.json')
    return size


def _head_dim(config: dict[str, Any], genai: dict[str, Any]) -> int:
    given = genai.get('model', {}).get('decoder', {}).get('head_size') or config.get('head_dim')
    if given:
        return int(given)
    heads = config.get('num_attention_heads')
    return int(config['hidden_size'] // heads) if heads and config.get('hidden_size') else 0


def _dtype(item: Any) -> np.dtype:
    if item is None:
        return np.dtype(np.int64)
    if item.type not in DTYPES:
        raise LfmError(ErrorCode.UNSUPPORTED, f'{item.name} is a {item.type}, which this version '
                       'cannot feed: export the model with float, float16 or int8 state')
    return DTYPES[item.type]


def _list(names: Any) -> str:
    names = list(names)
    return ', '.join(names[:4]) + (', ...' if len(names) > 4 else '')
