# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images are laid out and resized as transformers does it, or as the integrator limits it."""
from dataclasses import replace
import json

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.vision.image_processor import ImageProcessor
from lfm_ros.engine.vision.image_processor import ImageSettings
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import pytest
from support import folder
from support import MODELS  # noqa: F401  (makes the modules beside the fixtures importable)

from pictures import picture  # noqa: I100
import pixel_golden
from vision_recipes import FILTERS
from vision_recipes import SMALL

LAYOUTS = pixel_golden.load_layouts()
TILE_TAGS = {397 + 10 * row + column for row in range(10) for column in range(10)}


def settings_of(layout):
    return replace(ImageSettings(), **layout.settings)


def crops_of(processor, height, width):
    return processor.prepare(picture(height, width)).crops()


@pytest.mark.parametrize('layout', [x for x in LAYOUTS if not x.failure],
                         ids=lambda x: f'{x.height}x{x.width}-{x.settings}')
def test_an_image_is_laid_out_as_transformers_does(layout):
    processor = ImageProcessor(settings_of(layout))
    assert list(processor.grid(layout.height, layout.width)) == layout.grid
    assert list(processor.resized(layout.height, layout.width)) == layout.size
    assert processor.settings.max_patches == layout.patches


@pytest.mark.parametrize('layout', [x for x in LAYOUTS if x.failure],
                         ids=lambda x: f'{x.height}x{x.width}')
def test_an_image_at_which_transformers_fails_is_refused(layout):
    with pytest.raises(LfmError, match='too long and thin') as raised:
        ImageProcessor(settings_of(layout)).prepare(
            np.zeros((layout.height, layout.width, 3), np.uint8))
    assert raised.value.code == ErrorCode.INVALID_IMAGE


@pytest.mark.parametrize('name', pixel_golden.load_pixels())
def test_pixels_are_exactly_those_of_transformers(name):
    resample, _, size = name.partition('-')
    height, width = map(int, size.split('x'))
    processor = ImageProcessor(ImageSettings(**{**SMALL, 'resample': FILTERS[resample]}))
    wanted = pixel_golden.load_pixels()[name]
    found = crops_of(processor, height, width)
    assert [crop.shape for crop in found] == [tile.shape for tile in wanted]
    for crop, tile in zip(found, wanted):
        assert np.array_equal(crop, tile)


def test_patches_are_normalized_rows_of_pixels_with_their_colours():
    processor = ImageProcessor(ImageSettings(encoder_patch_size=2, tile_size=32))
    crop = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    patches, shape = processor.patches(crop)
    assert shape == (2, 3) and patches.shape == (6, 12) and patches.dtype == np.float32
    wanted = crop[2:4, 4:6].reshape(-1) / 255 * 2 - 1
    np.testing.assert_allclose(patches[5], wanted, atol=1e-6)


def test_fewer_tokens_are_taken_when_the_integrator_wants_it():
    processor = ImageProcessor(ImageSettings().limited(max_tokens=100))
    found = processor.prepare(picture(720, 1280))
    assert (found.rows, found.columns, found.thumbnail) == (1, 1, b'')
    assert 50 <= found.tokens <= 100


@pytest.mark.parametrize('most', range(256, 3000, 100))
def test_tiles_and_thumbnail_stay_within_the_tokens_that_are_allowed(most):
    processor = ImageProcessor(ImageSettings().limited(most))
    for height, width in ((1080, 1920), (3000, 1000), (2000, 2000)):
        rows, columns = processor.grid(height, width)
        thumbnail = processor.tokens_of(*processor.resized(height, width))
        tokens = rows * columns * 256 + thumbnail if rows * columns > 1 else thumbnail
        assert tokens <= most


def test_without_tiling_a_large_image_is_one_tile():
    processor = ImageProcessor(ImageSettings().limited(tiling=False))
    assert processor.grid(2000, 3000) == (1, 1)


def test_tiling_is_not_switched_on_for_a_model_that_has_none():
    settings = ImageSettings(do_image_splitting=False)
    for limited in (settings.limited(), settings.limited(5000), settings.limited(64)):
        assert not limited.do_image_splitting


def model_folder(tmp_path, **files):
    for name, value in files.items():
        (tmp_path / f'{name}.json').write_text(json.dumps(value))
    config = files.get('config', {})
    return ModelFolder(tmp_path, tmp_path / 'model.onnx', config)


@pytest.mark.parametrize('files', [
    {'preprocessor_config': {'tile_size': 256, 'resample': 3}},
    {'processor_config': {'image_processor': {'tile_size': 256, 'resample': 3}}},
    {'config': {'tile_size': 256, 'resample': 3}},
    {'preprocessor_config': {'tile_size': 256}, 'config': {'tile_size': 128, 'resample': 3}},
], ids=str)
def test_settings_are_found_in_the_files_of_any_version_of_transformers(tmp_path, files):
    found = ImageSettings.read(model_folder(tmp_path, **files))
    assert (found.tile_size, found.resample) == (256, 3)
    assert found.max_image_tokens == 256


def test_one_mean_for_all_colours_is_three(tmp_path):
    found = ImageSettings.read(model_folder(
        tmp_path, preprocessor_config={'image_mean': 0.4, 'image_std': [0.1, 0.2, 0.3]}))
    assert found.image_mean == (0.4, 0.4, 0.4) and found.image_std == (0.1, 0.2, 0.3)


@pytest.mark.parametrize('values', [
    {'tile_size': 0}, {'tile_size': 100}, {'tile_size': '512'}, {'encoder_patch_size': -1},
    {'min_image_tokens': 300}, {'image_std': [1, 0, 1]}, {'image_mean': [1, 2]},
    {'image_mean': ['a', 'b', 'c']}, {'resample': 9}, {'max_tiles': 1}, {'max_tiles': 1 << 40},
    {'rescale_factor': float('nan')}, {'downsample_factor': True}, {'min_tiles': 2.5},
], ids=str)
def test_settings_that_no_model_can_have_are_named_at_configure(tmp_path, values):
    with pytest.raises(LfmError, match='preprocessor_config.json') as raised:
        ImageSettings.read(model_folder(tmp_path, preprocessor_config=values))
    assert raised.value.code == ErrorCode.MODEL_DAMAGED


def test_a_text_model_needs_no_image_settings():
    assert folder().is_dir()
    assert ImageSettings.read(ModelFolder(folder(), folder() / 'model.onnx')) == ImageSettings()
