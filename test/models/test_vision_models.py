# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fixtures that see, their golden numbers and variants agree under plain onnxruntime."""

from pathlib import Path

from check_vision_models import follow
from check_vision_models import largest
from check_vision_models import open_runner
from check_vision_models import see
from check_vision_models import tiles_of
import no_telemetry  # noqa: F401
import numpy
import onnxruntime
from pictures import picture
from pixel_golden import key
from pixel_golden import load_layouts
from pixel_golden import load_pixels
import pytest
import vision_golden
from vision_recipes import FILTERS
from vision_recipes import IMAGE_ID
from vision_recipes import RECIPES
from vision_recipes import VisionRecipe
from vision_runner import PlainVisionRunner
import vision_variants

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
PUBLISHED = BY_NAME['lfm2-vl-past-conv']
VERSION = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
CASES = list(vision_golden.CASES)


def runner_of(recipe: VisionRecipe) -> PlainVisionRunner:
    if VERSION < recipe.onnxruntime:
        pytest.skip(f'ONNX Runtime {onnxruntime.__version__} lacks operators of {recipe.name}')
    return open_runner(recipe)


def open_folder(folder: Path, *names: str) -> PlainVisionRunner:
    vision, embedding, decoder = (folder / 'onnx' / f'{name}.onnx' for name in names)
    return PlainVisionRunner(vision, embedding, decoder, 16, IMAGE_ID)


def assert_golden(runner: PlainVisionRunner, case: str, tolerance: float) -> None:
    golden = vision_golden.load(PUBLISHED.name)
    seen = see(runner, tiles_of(PUBLISHED, golden.cases[case]))
    assert largest(seen - golden.features[case]) <= tolerance
    assert follow(runner, golden.cases[case], seen) <= tolerance


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('name', BY_NAME)
def test_fixture_gives_golden_numbers(name, case):
    golden = vision_golden.load(name)
    runner = runner_of(BY_NAME[name])
    wanted = golden.cases[case]
    seen = see(runner, tiles_of(BY_NAME[name], wanted))
    assert [len(runner.see(tile)) for tile in tiles_of(BY_NAME[name], wanted)] == wanted.tokens
    assert largest(seen - golden.features[case]) <= golden.tolerance
    logits = golden.logits[case].astype(numpy.float64)
    row = runner.start(wanted.ids, seen)
    assert largest(row - logits + numpy.logaddexp.reduce(logits)) <= golden.tolerance
    assert follow(runner, wanted, seen) <= golden.tolerance


@pytest.mark.parametrize('case', ['small', 'wide', 'tall', 'two'])
@pytest.mark.parametrize('name', BY_NAME)
def test_golden_numbers_notice_a_missing_picture(name, case):
    wanted = vision_golden.load(name).cases[case]
    runner = runner_of(BY_NAME[name])
    black = [numpy.zeros_like(tile) for tile in tiles_of(BY_NAME[name], wanted)]
    assert follow(runner, wanted, see(runner, black)) > 0.1


def test_golden_numbers_notice_tiles_in_another_order():
    wanted = vision_golden.load(PUBLISHED.name).cases['wide']
    runner = runner_of(PUBLISHED)
    tiles = tiles_of(PUBLISHED, wanted)
    assert follow(runner, wanted, see(runner, [tiles[1], tiles[0], *tiles[2:]])) > 0.01


@pytest.mark.parametrize('case', ['wide', 'none'])
@pytest.mark.parametrize('inside', [
    (), ('embed_tokens',), ('vision_encoder',), ('vision_encoder', 'embed_tokens')])
def test_half_precision_stays_near_golden_numbers(inside, case, tmp_path):
    folder = vision_variants.with_half_precision(PUBLISHED.folder, tmp_path / 'model', inside)
    for name in ('vision_encoder', 'embed_tokens'):
        session = onnxruntime.InferenceSession(str(folder / 'onnx' / f'{name}_fp16.onnx'))
        kind = 'tensor(float16)' if name in inside else 'tensor(float)'
        assert session.get_outputs()[0].type == kind
    runner = open_folder(
        folder, 'vision_encoder_fp16', 'embed_tokens_fp16', 'decoder_model_merged')
    assert_golden(runner, case, 0.05)


@pytest.mark.parametrize('case', CASES)
def test_early_names_give_golden_numbers(case, tmp_path):
    folder = vision_variants.with_early_names(PUBLISHED.folder, tmp_path / 'model')
    session = onnxruntime.InferenceSession(str(folder / 'onnx' / 'decoder.onnx'))
    assert 'position_ids' in [item.name for item in session.get_inputs()]
    assert sorted(path.name for path in (folder / 'onnx').iterdir()) == [
        'decoder.onnx', 'decoder.onnx_data', 'embed_images.onnx', 'embed_tokens.onnx']
    assert_golden(open_folder(folder, 'embed_images', 'embed_tokens', 'decoder'), case, 1e-4)


def test_layouts_agree_with_themselves():
    for layout in load_layouts():
        if layout.failure:
            continue
        across = [rows * columns for rows, columns in layout.spatial_shapes]
        assert layout.tokens == sum(across) // 4
        assert max(across) <= layout.patches
        assert layout.runs[0] == [498, 1] and layout.runs[-1] == [499, 1]


def test_pixels_are_pictures_of_the_right_size():
    pixels = load_pixels()
    sizes = {name.partition('-')[2] for name in pixels}
    assert len(sizes) >= 30 and len(pixels) == len(sizes) * len(FILTERS)
    for resample in FILTERS:
        assert (pixels[key(resample, 64, 96)][0] == picture(64, 96)).all()


def test_picture_is_the_same_everywhere():
    assert int(picture(90, 120).astype(numpy.int64).sum()) == 3574512
    assert picture(1, 1).shape == (1, 1, 3)
