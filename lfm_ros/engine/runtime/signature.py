# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs and outputs of a decoder graph, as it declares them."""
from __future__ import annotations

from collections.abc import Container
from collections.abc import Mapping
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
BATCH = 'company'  # bool: every row of the run belongs to another state
PREFILL_ATTENTION = 'long'        # bool: use the attention that is fast for many tokens
LANE = 'slot.'       # slot.1.past_key_values.2.key: of the second lane of a batch
CONV_HISTORY = 'history.'  # history.0: all columns that conv states of a run are cut from
ROWS = 'rows.'        # rows.2.key: what a run with the prefill attention adds

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
        """Whether every token adds a row."""
        return self.kind != 'conv'

    @property
    def row_bytes(self) -> int:
        """Bytes per token for keys and values, bytes in all for a convolution."""
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
        conv state within the run is a slice; empty: there are none.
    :param lanes: how many states can be decoded in one run; 0: only one.
    :param long: whether it has a second attention for many tokens, see :data:`PREFILL_ATTENTION`.
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
    lanes: int = 0
    long: bool = False

    @property
    def conv(self) -> list[StateTensor]:
        """The conv states."""
        return [t for t in self.states if not t.grows]

    @property
    def key_value(self) -> list[StateTensor]:
        """The keys and values."""
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
    ids = _find_tokens(by_name, out_names)
    states, dialect = _read_states(inputs, out_names, ids, config, genai)
    keep = next((n for n in KEEP_NAMES if n in by_name), '')
    history = tuple(f'{CONV_HISTORY}{t.layer}' for t in states if not t.grows)
    return GraphSignature(
        ids=ids, ids_dtype=_dtype(by_name[ids]),
        mask='attention_mask' if 'attention_mask' in by_name else '',
        mask_dtype=_dtype(by_name.get('attention_mask')),
        positions='position_ids' if 'position_ids' in by_name else '',
        positions_dtype=_dtype(by_name.get('position_ids')),
        keep=keep, keep_dtype=_dtype(by_name.get(keep)),
        keep_rank=len(by_name[keep].shape) if keep else 0,
        logits='logits', logits_dtype=_dtype(out_names['logits']),
        states=states,
        history=history if out_names.keys() >= set(history) else (),
        lanes=sum(f'{LANE}{i}.seqlens' in by_name for i in range(len(by_name))),
        long=PREFILL_ATTENTION in by_name,
        dialect=dialect,
        hidden=_hidden(by_name[ids], config) if ids == 'inputs_embeds' else 0)


def _find_tokens(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> str:
    """Return the name of the token input; refuse a graph that is no language model."""
    ids = 'inputs_embeds' if 'input_ids' not in inputs else 'input_ids'
    if ids not in inputs or 'logits' not in outputs:
        raise LfmError(ErrorCode.MODEL_FOREIGN, 'this ONNX file is not a language model: it has '
                       f'inputs {_list(inputs)} and outputs {_list(outputs)} instead of '
                       'input_ids and logits')
    return ids


def _read_states(inputs: Sequence[Any], outputs: Container[str], ids: str,
                 config: dict[str, Any], genai: dict[str, Any]
                 ) -> tuple[tuple[StateTensor, ...], str]:
    """
    Return the parts of the state, by layer and kind, and the dialect of their names.

    :param outputs: names of the outputs.
    :param ids: name of the token input.
    """
    head_dim = _head_dim(config, genai)
    others = {ids, 'attention_mask', 'position_ids', BATCH, PREFILL_ATTENTION, *KEEP_NAMES}
    states, dialects = [], set()
    for item in inputs:
        if item.name in others or item.name.startswith(LANE):
            continue
        state, dialect = _state_tensor(item, config, head_dim)
        if state.output not in outputs:
            raise LfmError(ErrorCode.MODEL_FOREIGN, f'this graph takes {item.name} but does not '
                           f'give {state.output}: export it again')
        states.append(state)
        dialects.add(dialect)
    if not states:
        raise LfmError(ErrorCode.MODEL_FOREIGN, 'this graph keeps no state (no past_conv, '
                       'past.N.conv or past_key_values inputs): export it with its cache')
    dialects.discard('kv-only')
    states.sort(key=lambda t: (t.layer, t.kind))
    return tuple(states), '+'.join(sorted(dialects)) or 'kv-only'


def _state_tensor(item: Any, config: dict[str, Any], head_dim: int) -> tuple[StateTensor, str]:
    """
    Return the part of the state that an input is, and the dialect of its name.

    :param head_dim: numbers of a key, where the graph leaves that open; 0: not known.
    """
    name, dtype = item.name, _dtype_of_state(item)
    if match := _KEY_VALUE.fullmatch(name):
        output, dialect = name.replace('past_key_values', 'present', 1), 'kv-only'
        state = StateTensor(name, output, int(match[1]), match[2],
                            _key_value_shape(item, dtype, config, head_dim), dtype)
    else:
        layer = int(re.findall(r'\d+', name)[0])
        dialect = 'past_conv' if name.startswith('past_conv') else 'past.conv'
        state = StateTensor(name, name.replace('past', 'present', 1), layer, 'conv',
                            _conv_shape(item, dialect, config), dtype)
    if not all(n > 0 for i, n in enumerate(state.shape) if not (state.grows and i == 2)):
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'the size of {name} is open in the graph '
                       f'({item.shape}) and config.json does not give it: add config.json')
    if state.row_bytes > MAX_ROW_BYTES:
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'{name} would take {state.row_bytes} bytes for '
                       'one token: export the model again, and copy its config.json')
    return state, dialect


def _dtype_of_state(item: Any) -> np.dtype:
    """Return the type of an input that must be a part of the state; refuse any other."""
    name, is_key_value = item.name, _KEY_VALUE.fullmatch(item.name)
    if not (is_key_value or _CONV_D1.fullmatch(name) or _CONV_D2.fullmatch(name)):
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'this graph needs the input {name}, which this '
                       'version cannot give: take another export of the model')
    dtype, rank = _dtype(item), 4 if is_key_value else 3
    if len(item.shape) != rank:
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'{name} has the shape {item.shape} in the graph '
                       f'instead of {rank} dimensions: export it again')
    return dtype


def _key_value_shape(item: Any, dtype: np.dtype, config: dict[str, Any],
                     head_dim: int) -> tuple[int, ...]:
    """Return ``(1, heads, 0, head_dim)``; 0 for what neither graph nor config.json gives."""
    heads, width = item.shape[1], item.shape[3]
    if not isinstance(heads, int):
        heads = config.get('num_key_value_heads') or config.get('num_attention_heads') or 0
    if not isinstance(width, int):
        width = head_dim // 2 if dtype == np.uint8 else head_dim  # uint8 packs two int4
    return 1, heads, 0, width


def _conv_shape(item: Any, dialect: str, config: dict[str, Any]) -> tuple[int, ...]:
    """Return ``(1, hidden, columns)``; 0 for a hidden size that nothing gives."""
    hidden, columns = item.shape[1], item.shape[2]
    if not isinstance(hidden, int):
        hidden = config.get('hidden_size') or 0
    if not isinstance(columns, int):
        columns = config.get('conv_L_cache', 3) - (dialect == 'past.conv')
    return 1, hidden, columns


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
