# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rotate cached keys to other positions."""
from __future__ import annotations

from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.runtime.buffers import CosSin
from lfm_ros.engine.runtime.buffers import rotate
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

LFM2_THETA = 1e6  # of most LFM2 models; a probe finds those that have another


class Rotary:
    """
    The rotary embedding of a model, in halves (NeoX): number i of a head rotates with i + half.

    :param frequencies: float64 ``[half]``, radians per position; what is behind the first
        ``2 * half`` numbers of a head is not rotated.
    """

    def __init__(self, frequencies: np.ndarray) -> None:
        self.frequencies = frequencies

    @classmethod
    def read(cls, folder: ModelFolder, head_dim: int, context_length: int) -> Rotary:
        """
        Read the settings of transformers 4 or 5; the graph may still rotate in another way.

        :param context_length: the most tokens that a state may hold.
        :raises LfmError: UNSUPPORTED, when they are missing, unknown or damaged.
        """
        config = {'model_type': folder.genai.get('model', {}).get('type'), **folder.text_config}
        try:
            with np.errstate(divide='raise', invalid='raise'):
                return cls(_frequencies(config, head_dim, context_length))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise unsupported(f'the settings of its rotary embedding in {folder.root} are missing '
                              f'or damaged ({error!r})',
                              'copy config.json of the model into it, or ') from error

    def rotate(self, keys: np.ndarray, by: int) -> np.ndarray:
        """
        Return keys as if each had been read that many positions later.

        Every row is computed for itself: the result does not depend on which are given together.

        :param keys: float ``[1, heads, rows, head_dim]``; computed in float32.
        :param by: positions; negative: earlier.
        """
        return rotate(keys, self.cos_sin(by))

    def cos_sin(self, by: int) -> CosSin:
        """Return the cosines and sines, float32 ``[half]``, of so many positions later."""
        angles = by * self.frequencies
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def unsupported(why: str, remedy: str = '') -> LfmError:
    """Return the error of a model whose keys cannot be moved."""
    return LfmError(ErrorCode.UNSUPPORTED, 'the cached keys of this model cannot be shifted, '
                    f'{why}: {remedy}set missions.overflow to refuse or forget')


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
        rotations = rope['original_max_position_embeddings'] * plain / (2 * np.pi)
        stays = np.clip((rotations - low) / (high - low), 0, 1)
        return plain * (stays + (1 - stays) / float(rope['factor']))
    if kind == 'longrope':
        most = (rope.get('original_max_position_embeddings')
                or config['original_max_position_embeddings'])
        if context_length > most:
            # Which of its two tables rotated a key is not known afterwards.
            raise unsupported(f'it rotates them differently beyond {most} tokens',
                              f'set model.context_length to {most}, or ')
        return plain / np.array(rope['short_factor'], np.float64)
    raise unsupported(f'this version does not know rotary embeddings of the type {kind!r}')
