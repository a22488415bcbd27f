# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turn cached keys to other positions, once a probe has shown that this is right."""
from __future__ import annotations

from typing import Any

from lfm_ros.engine.folder import ModelFolder
from lfm_ros.engine.runner import Runner
from lfm_ros.engine.state import Mark
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

LFM2_THETA = 1e6  # of most LFM2 models; the probe finds those that have another
PROBE_ROWS = 512  # far enough to tell the slow frequencies, at 12 MB for LFM2-350M
# How far a key may be from where it should be, in parts of its length. Nothing but rounding to
# fp16 moves it in the first attention layer; Llama 3.2 without its scaling is off by 0.16 there.
# Later layers amplify the rounding of activations to int8: 0.02 in LFM2-350M with random weights.
CLOSE = 0.005
CLOSE_LATER = 0.2


class Rotary:
    """
    The rotary embedding of a model, in halves (NeoX): number i of a head turns with i + half.

    :param frequencies: float64 ``[half]``, radians per position; what is behind the first
        ``2 * half`` numbers of a head is not turned.
    """

    def __init__(self, frequencies: np.ndarray) -> None:
        self.frequencies = frequencies

    @classmethod
    def read(cls, folder: ModelFolder, head_dim: int, context_length: int) -> Rotary:
        """
        Read the settings of transformers 4 or 5; nothing shows yet that the graph keeps them.

        :param context_length: the most tokens that a state may hold.
        :raises LfmError: UNSUPPORTED, when they are missing, unknown or damaged.
        """
        config = {'model_type': folder.genai.get('model', {}).get('type'), **folder.text_config}
        try:
            with np.errstate(divide='raise', invalid='raise'):
                return cls(_frequencies(config, head_dim, context_length))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise _refusal(f'the settings of its rotary embedding in {folder.root} are missing '
                           f'or damaged ({error!r})',
                           'copy config.json of the model into it, or ') from error

    def turn(self, keys: np.ndarray, by: int) -> np.ndarray:
        """
        Return keys as if each had been read that many positions later.

        Every row is computed for itself: the result does not depend on which are given together.

        :param keys: float ``[1, heads, rows, head_dim]``; computed in float32.
        :param by: positions; negative: earlier.
        """
        half = len(self.frequencies)
        angles = by * self.frequencies
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        low = keys[..., :half].astype(np.float32)
        high = keys[..., half:2 * half].astype(np.float32)
        turned = keys.copy()
        turned[..., :half] = low * cos - high * sin
        turned[..., half:2 * half] = high * cos + low * sin
        return turned


def proved_rotary(folder: ModelFolder, runner: Runner) -> Rotary:
    """
    Return the rotary embedding of a model after a probe of every attention layer.

    The probe reads about as many tokens as the convolution windows have columns.

    :raises LfmError: UNSUPPORTED, when keys cannot be turned or the graph does not turn them so.
    """
    keys = [t for t in runner.signature.key_value if t.kind == 'key']
    if not keys:
        raise _refusal('it keeps none')
    if any(t.dtype.kind != 'f' for t in keys):
        raise _refusal(f'they are kept as {keys[0].dtype}',
                       'take an export with float or float16 state, or ')
    rotary = Rotary.read(folder, keys[0].shape[3], runner.limit)
    if not _holds(rotary, runner, [t.name for t in keys]):
        raise _refusal(f'the graph does not turn them as the settings in {folder.root} say',
                       'copy config.json of the same export into it, or ')
    return rotary


def _refusal(why: str, remedy: str = '') -> LfmError:
    return LfmError(ErrorCode.UNSUPPORTED, 'the keys of this model cannot be moved to other '
                    f'positions, {why}: {remedy}set missions.overflow to refuse or forget')


def _frequencies(config: dict[str, Any], head_dim: int, context_length: int) -> np.ndarray:
    """Return radians per position, float64 ``[half]``; any error means damaged settings."""
    rope = config.get('rope_parameters') or config.get('rope_scaling') or {}
    kind = rope.get('rope_type') or rope.get('type') or 'default'
    theta = rope.get('rope_theta') or config.get('rope_theta')
    if theta is None:
        if not str(config['model_type']).startswith('lfm2'):
            raise KeyError('rope_theta')
        theta = LFM2_THETA
    part = rope.get('partial_rotary_factor') or config.get('partial_rotary_factor') or 1.0
    rotated = int(head_dim * part)
    plain = float(theta) ** (-np.arange(0, rotated, 2) / rotated)
    if kind == 'default':
        return plain
    if kind == 'linear':
        return plain / float(rope['factor'])
    if kind == 'llama3':
        # The share of a frequency that stays goes from 0 (slow) to 1 (fast).
        low, high = float(rope['low_freq_factor']), float(rope['high_freq_factor'])
        turns = rope['original_max_position_embeddings'] * plain / (2 * np.pi)
        stays = np.clip((turns - low) / (high - low), 0, 1)
        return plain * (stays + (1 - stays) / float(rope['factor']))
    if kind == 'longrope':
        most = (rope.get('original_max_position_embeddings')
                or config['original_max_position_embeddings'])
        if context_length > most:
            # Which of its two tables turned a key is not known afterwards.
            raise _refusal(f'it turns them in another way beyond {most} tokens',
                           f'set model.context_length to {most}, or ')
        return plain / np.array(rope['short_factor'], np.float64)
    raise _refusal(f'this version does not know rotary embeddings of the type {kind!r}')


def _holds(rotary: Rotary, runner: Runner, keys: list[str]) -> bool:
    """
    Tell whether the graph's own keys at later positions are the key at 0, turned.

    One token is read again and again at position 0, until nothing in the windows is left from
    their beginning. Then the input of every layer is the same at every position as long as all
    values in the state are the same: attention over them gives that value, whatever the keys.
    So rows can be repeated up to a position far away, and only the keys that follow may differ.
    """
    token = [runner.vocabulary // 2]  # a common one; the embedding of padding may be 0
    state = runner.new_state()
    for _ in range(1 + sum(t.shape[2] for t in runner.signature.conv)):
        state.restore(Mark(0, state.mark().windows))
        runner.run(state, token)
    first = state.arrays()
    grows = {t.name for t in runner.signature.key_value}
    for start in (1, min(runner.limit, PROBE_ROWS) - 2):
        later = runner.new_state()
        later.load({name: array.repeat(start, axis=2) if name in grows else array
                    for name, array in first.items()}, start)
        runner.run(later, token)
        runner.run(later, token)
        after = later.arrays()
        for name in keys:
            most = CLOSE if name == keys[0] else CLOSE_LATER
            for place in (start, start + 1):
                found = after[name][:, :, place:place + 1]
                if not _close(found, rotary.turn(first[name], place), most):
                    return False
            if start > 1 and _close(found, first[name], CLOSE):
                return False  # keys that do not turn at all prove nothing
    return True


def _close(found: np.ndarray, expected: np.ndarray, most: float) -> bool:
    """Compare keys head by head; what is no number is not close."""
    error = np.linalg.norm(np.subtract(found, expected, dtype=np.float32), axis=-1)
    return bool(np.all(error <= most * np.linalg.norm(expected.astype(np.float32), axis=-1)))
