# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features of images: the vision encoder of a model, and those that it gave last."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Sequence
import math
import time
from typing import Any

from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.ort_runs import OrtRuns
from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.engine.runtime.signature import DTYPES
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.engine.vision.image import invalid
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.engine.vision.image_processor import CHANNELS
from lfm_ros.engine.vision.image_processor import ImageProcessor
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import onnxruntime

_MASKS = ('pixel_attention_mask', 'attention_mask')
_SHAPES = ('spatial_shapes', 'image_sizes')
CACHE_BYTES = 32 << 20  # 16 images of 256 tokens at LFM2-VL-1.6B
# Padding changes the range to which int8 activations are rounded: 0.03 in an encoder of random
# weights. A graph that mistakes patches for padding is far off.
CLOSE = 0.1
ALWAYS = -1.0


class ImageTokens:
    """
    The ids that stand for an image.

    :param grids: rows and columns into which images may be cut.
    :raises LfmError: TOKENIZER_INVALID, when the tokenizer lacks one of them.
    """

    def __init__(self, tokenizer: Tokenizer, grids: Iterable[tuple[int, int]]) -> None:
        self._id_of = tokenizer.id_of
        self.image = self._id('<image>')
        for rows, columns in [(1, 1), *grids]:
            self.layout(PreparedImage(1, rows, columns, b'', b'-'), 0)

    def layout(self, prepared: PreparedImage, tile: int) -> list[int]:
        """
        Return the ids of an image, as transformers' Lfm2VlProcessor expands ``<image>``.

        :param tile: tokens of a tile of an image that is cut.
        """
        if prepared.rows * prepared.columns == 1:
            inner = [self.image] * prepared.tokens
        else:
            inner = []
            for row in range(1, prepared.rows + 1):
                for column in range(1, prepared.columns + 1):
                    inner += [self._id(f'<|img_row_{row}_col_{column}|>'), *[self.image] * tile]
            rest = prepared.tokens - prepared.rows * prepared.columns * tile
            if prepared.thumbnail:
                inner += [self._id('<|img_thumbnail|>'), *[self.image] * rest]
        return [self._id('<|image_start|>'), *inner, self._id('<|image_end|>')]

    def _id(self, token: str) -> int:
        found = self._id_of(token)
        if found is None:
            raise LfmError(ErrorCode.TOKENIZER_INVALID, f'the tokenizer has no token {token}, '
                           'which this model needs for images: copy tokenizer.json of the model '
                           'again')
        return found


class VisionEncoder:
    """
    The vision encoder of a model with what comes before it.

    One tile per run: a batch of tiles gives wrong features in some exports.

    :param open_encoder: opens a session of the encoder's graph; called again after
        :meth:`release`.
    :param max_patches: of one run, whatever the processor is limited to.
    :param hidden: numbers of an embedding of the decoder.
    :param keep_alive: seconds for which the encoder stays in memory after its last use;
        :data:`ALWAYS`: as long as the model.
    :param runs: makes the runs.
    :param settings_from: which file the settings of the processor are from, for errors.
    """

    def __init__(self, open_encoder: Callable[[], onnxruntime.InferenceSession],
                 processor: ImageProcessor, tokens: ImageTokens, max_patches: int, hidden: int,
                 keep_alive: float = ALWAYS, runs: OrtRuns | None = None,
                 settings_from: str = 'preprocessor_config.json') -> None:
        self.processor = processor
        self._settings_from = settings_from
        self.tokens = tokens
        self._max_patches = max_patches
        self._open = open_encoder
        self._hidden = hidden
        self._keep_alive = keep_alive
        self._ort_runs = runs or OrtRuns()
        self._session: onnxruntime.InferenceSession | None = open_encoder()
        self._used = time.monotonic()
        self._cache: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._names = self._read_signature(self._session)
        self._padding = self._find_padding()

    @property
    def nbytes(self) -> int:
        """The memory in bytes of the features that are kept."""
        return sum(features.nbytes for features in list(self._cache.values()))

    @property
    def is_loaded(self) -> bool:
        """Whether the encoder is in memory."""
        return self._session is not None

    def preprocess(self, image: ImageSource) -> PreparedImage:
        """
        Return what the model sees of an image.

        :raises LfmError: what the source raises, and INVALID_IMAGE.
        """
        return self.processor.prepare(image.pixels())

    def ids(self, prepared: PreparedImage) -> list[int]:
        """Return the ids that stand for an image."""
        return self.tokens.layout(prepared, self.processor.settings.tile_tokens)

    def features(self, prepared: PreparedImage,
                 cancel_token: CancelToken | None = None) -> np.ndarray:
        """
        Return the features of an image; those of recent images come from a cache.

        :returns: float32 ``[prepared.tokens, hidden]``; must not be written to.
        :raises RunCancelled: when the token was set.
        """
        steps = self.encode_tiles(prepared, cancel_token)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def encode_tiles(self, prepared: PreparedImage, cancel_token: CancelToken | None = None
                     ) -> Generator[None, None, np.ndarray]:
        """
        Encode an image tile by tile, as :meth:`features` does at once.

        Encoded tiles are in the cache when this is abandoned and begun again.

        :returns: yields after every tile, returns the features.
        """
        crops: list[np.ndarray] = []  # decoded when a tile is not in the cache
        parts = []
        for number in range(prepared.tiles):
            name = prepared.digest, number
            known = self._cache.pop(name, None)
            is_new = known is None
            if known is None:
                crops = crops or prepared.crops()
                known = self._encode(crops[number], cancel_token)
            self._cache[name] = known
            parts.append(known)
            if is_new:
                yield
        found = np.concatenate(parts) if len(parts) > 1 else parts[0]
        if len(found) != prepared.tokens:
            raise self._foreign(f'gives {len(found)} features for {prepared.tokens} tokens')
        self.shrink(CACHE_BYTES)
        return found

    def shrink(self, most: int) -> None:
        """Drop features, the oldest first, until they take so many bytes at most."""
        while self._cache and self.nbytes > most:
            self._cache.popitem(last=False)

    def release_idle(self) -> None:
        """Release the encoder when it was not used for long enough."""
        if 0 <= self._keep_alive <= time.monotonic() - self._used:
            self.release()

    def release(self) -> None:
        """Give the memory of the encoder back until the next image."""
        self._session = None

    def probe_peak_memory(self) -> None:
        """Encode the largest tile, for which a run needs most memory."""
        side = math.isqrt(self.processor.settings.max_patches)
        self._run(np.zeros((side * side, self._patch_numbers), np.float32), (side, side), None)

    def _encode(self, crop: np.ndarray, cancel_token: CancelToken | None) -> np.ndarray:
        side = self.processor.settings.encoder_patch_size
        if not 0 < crop.size // (CHANNELS * side ** 2) <= self._max_patches or \
                crop.shape[0] % side or crop.shape[1] % side:
            raise invalid('a stored image does not fit this model: rewind the mission to before '
                          'it, or delete the mission')
        patches, shape = self.processor.patches(crop)
        return self._run(patches, shape, cancel_token)

    def _run(self, patches: np.ndarray, shape: tuple[int, int], cancel_token: CancelToken | None,
             padding: int | None = None) -> np.ndarray:
        if cancel_token and cancel_token.is_set:
            raise RunCancelled
        session = self._session = self._session or self._open()
        count = max(len(patches), self._padding if padding is None else padding)
        pixels, mask, sizes = self._names
        values = np.zeros((1, count, patches.shape[1]), _dtype(pixels))
        values[0, :len(patches)] = patches
        valid = np.zeros((1, count), _dtype(mask))
        valid[0, :len(patches)] = 1
        feeds = {pixels.name: values, mask.name: valid,
                 sizes.name: np.array([shape], _dtype(sizes))}
        try:
            found = self._ort_runs.run(
                lambda options: session.run([self._output], feeds, options), cancel_token,
                'vision encoder')
        finally:
            self._used = time.monotonic()
        rows = found[0].reshape(-1, found[0].shape[-1])
        return rows.astype(np.float32, copy=False)

    @property
    def _patch_numbers(self) -> int:
        return CHANNELS * self.processor.settings.encoder_patch_size ** 2

    def _read_signature(self, session: onnxruntime.InferenceSession) -> tuple[Any, Any, Any]:
        """Return the inputs for pixels, mask and sizes."""
        inputs = {item.name: item for item in session.get_inputs()}
        found = [next((inputs[name] for name in names if name in inputs), None)
                 for names in (('pixel_values',), _MASKS, _SHAPES)]
        pixels, mask, sizes = found
        if not (pixels and mask and sizes) or len(inputs) != 3 or len(pixels.shape) != 3:
            raise self._foreign(f'takes {_shapes(session.get_inputs())} instead of patches, their '
                                'mask and their rows and columns')
        numbers = pixels.shape[2]
        if isinstance(numbers, int) and numbers != self._patch_numbers:
            raise self._foreign(f'takes patches of {numbers} numbers, {self._settings_from} '
                                f'says {self._patch_numbers}')
        outputs = [item.name for item in session.get_outputs()]
        self._output = 'image_features' if 'image_features' in outputs else outputs[0]
        return pixels, mask, sizes

    def _find_padding(self) -> int:
        """
        Return to how many patches every image must be padded; 0: it need not be.

        The published pipelines pad to the most that there can be. Where a graph gives the same
        without, a small image takes less time; this is probed, whatever the graph declares.
        """
        most, declared = self._max_patches, self._names[0].shape[1]
        factor = self.processor.settings.downsample_factor
        shape = (2 * factor, factor)
        probe = np.linspace(-1, 1, 2 * factor * factor * self._patch_numbers, dtype=np.float32)
        probe = np.sin(99 * probe).reshape(2 * factor * factor, -1)
        if isinstance(declared, int):
            padding = declared
        else:
            padding = most
            try:
                plain = self._run(probe, shape, None, 0)
                padded = self._run(probe, shape, None, 3 * factor * factor)
                if plain.shape == padded.shape and \
                        np.linalg.norm(plain - padded) <= CLOSE * np.linalg.norm(padded):
                    padding = 0
            except LfmError:
                pass
        if 0 < padding < most:
            raise self._foreign(f'takes {padding} patches, {self._settings_from} allows '
                                f'{most}')
        features = self._run(probe, shape, None, padding)
        if features.shape != (2, self._hidden):
            raise self._foreign(f'gives features {features.shape} for 2 tokens of '
                                f'{self._hidden} numbers')
        if not np.isfinite(features).all():
            raise LfmError(ErrorCode.MODEL_DAMAGED, 'the vision encoder produces NaN or infinite '
                           'features, its weights are damaged: copy all its files again')
        self.release_idle()
        return padding

    @staticmethod
    def _foreign(why: str) -> LfmError:
        return LfmError(ErrorCode.MODEL_FOREIGN, f'the vision encoder {why}: take all graphs and '
                        'settings of the model from the same export')


def _dtype(item: Any) -> np.dtype:
    types = {**DTYPES, 'tensor(bool)': np.dtype(bool)}
    return types.get(item.type, np.dtype(np.float32))


def _shapes(items: Sequence[Any]) -> str:
    return ', '.join(f'{item.name} {item.shape}' for item in items)
