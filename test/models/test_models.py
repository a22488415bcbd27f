# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fixtures, their golden numbers and their variants agree under plain onnxruntime."""

from pathlib import Path

import damage
import golden
import graph_folder
import layouts
import no_telemetry  # noqa: F401
import numpy
import onnx
import onnxruntime
from plain_runner import continue_greedily
from plain_runner import largest_difference
from plain_runner import PlainRunner
from plain_runner import score
import pytest
from recipes import Recipe
from recipes import RECIPES
import variants
import written_out

FOLDER = Path(__file__).parent
BY_NAME = {recipe.name: recipe for recipe in RECIPES}
VERSION = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
RUNNABLE = [recipe for recipe in RECIPES if recipe.chunks]
CHUNKED = [recipe for recipe in RUNNABLE if recipe.memory_reuse]
GROUPED = [recipe for recipe in CHUNKED if recipe.name != 'lfm2-int8-state']
CONVOLVED = [recipe for recipe in GROUPED if recipe.onnxruntime == (1, 29)]


def names(recipes: list[Recipe]) -> list[str]:
    return [recipe.name for recipe in recipes]


def operators(folder: Path) -> set[str]:
    found = set()
    for path in folder.glob('*.onnx'):
        graph = onnx.load(str(path), load_external_data=False).graph
        found |= {node.op_type for node in graph.node}
    return found


def runner_of(name: str, model: Path) -> PlainRunner:
    recipe = BY_NAME[name]
    if VERSION < recipe.onnxruntime and 'CausalConvWithState' in operators(model.parent):
        pytest.skip(f'ONNX Runtime {onnxruntime.__version__} lacks operators of {name}')
    return PlainRunner(model, recipe.head_size, recipe.memory_reuse)


def assert_golden(name: str, model: Path, chunks: tuple[int, ...] | None = None) -> None:
    wanted = golden.load(name)
    runner = runner_of(name, model)
    for chunk in chunks or BY_NAME[name].chunks:
        found = score(runner, wanted.ids, chunk)
        assert largest_difference(found, wanted.log_probabilities) <= wanted.tolerance
    assert continue_greedily(runner, wanted.prompt, len(wanted.greedy)) == wanted.greedy


@pytest.mark.parametrize('name', names(RUNNABLE))
def test_fixture_gives_golden_numbers(name):
    assert_golden(name, BY_NAME[name].folder / 'model.onnx')


@pytest.mark.parametrize('name', names(RUNNABLE))
def test_golden_numbers_notice_a_lost_state(name):
    wanted = golden.load(name)
    runner = runner_of(name, BY_NAME[name].folder / 'model.onnx')
    found = score(runner, wanted.ids[24:], 24)
    lost = largest_difference(found, wanted.log_probabilities[24:])
    assert lost > 5 * wanted.tolerance


def test_graph_for_gpu_is_refused_on_cpu():
    with pytest.raises(Exception, match='q_norm_weight'):
        runner_of('lfm2-fp16-gpu', BY_NAME['lfm2-fp16-gpu'].folder / 'model.onnx').feed([1])


@pytest.mark.parametrize('name', names(CHUNKED))
@pytest.mark.parametrize('variant', [
    variants.with_position_ids, variants.with_num_logits_to_keep, variants.with_state_size,
    variants.without_state_size, variants.with_fixed_batch, variants.with_reversed_signature])
def test_variant_gives_golden_numbers(name, variant, tmp_path):
    assert_golden(name, variant(FOLDER / name, tmp_path / 'model') / 'model.onnx')


@pytest.mark.parametrize('name', names(CHUNKED))
def test_variant_with_last_logits_only_gives_golden_numbers(name, tmp_path):
    folder = variants.with_last_logits_only(FOLDER / name, tmp_path / 'model')
    assert_golden(name, folder / 'model.onnx', chunks=(1,))


@pytest.mark.parametrize('name', names(CHUNKED))
def test_variant_without_states_gives_golden_numbers_in_one_call(name, tmp_path):
    folder = variants.without_states(FOLDER / name, tmp_path / 'model')
    wanted = golden.load(name)
    found = score(runner_of(name, folder / 'model.onnx'), wanted.ids, len(wanted.ids))
    assert largest_difference(found, wanted.log_probabilities) <= wanted.tolerance


@pytest.mark.parametrize('name', names(GROUPED))
def test_written_out_attention_gives_golden_numbers(name, tmp_path):
    folder = written_out.with_written_out_attention(FOLDER / name, tmp_path / 'model')
    assert 'GroupQueryAttention' not in operators(folder)
    assert_golden(name, folder / 'model.onnx')


def test_quantized_states_can_not_be_written_out(tmp_path):
    with pytest.raises(ValueError, match='quantized'):
        written_out.with_written_out_attention(FOLDER / 'lfm2-int8-state', tmp_path / 'model')


@pytest.mark.parametrize('name', names(CONVOLVED))
def test_written_out_convolution_gives_golden_numbers(name, tmp_path):
    folder = written_out.with_written_out_convolution(FOLDER / name, tmp_path / 'model')
    assert 'CausalConvWithState' not in operators(folder)
    assert_golden(name, folder / 'model.onnx')


def test_position_ids_matter(tmp_path):
    folder = variants.with_position_ids(FOLDER / 'lfm2-past-conv', tmp_path / 'model')
    session = onnxruntime.InferenceSession(str(folder / 'model.onnx'))
    feeds = {
        item.name: numpy.zeros([1, *item.shape[1:2], 0, 16], numpy.float32)
        if item.name.endswith(('key', 'value')) else numpy.zeros([1, 32, 3], numpy.float32)
        for item in session.get_inputs() if item.name.startswith('past')}
    feeds['input_ids'] = numpy.array([golden.load('lfm2-past-conv').ids])
    feeds['attention_mask'] = numpy.ones_like(feeds['input_ids'])
    in_order = numpy.arange(48)[None]
    results = [
        session.run(['logits'], {**feeds, 'position_ids': order})[0]
        for order in (in_order, in_order[:, ::-1].copy())]
    assert numpy.abs(results[0] - results[1]).max() > 0.1


def test_num_logits_to_keep_keeps_the_last_rows(tmp_path):
    folder = variants.with_num_logits_to_keep(FOLDER / 'llama', tmp_path / 'model')
    session = onnxruntime.InferenceSession(str(folder / 'model.onnx'))
    feeds = {
        item.name: numpy.zeros([1, 1, 0, 16], numpy.float32)
        for item in session.get_inputs() if item.name.startswith('past')}
    feeds['input_ids'] = numpy.array([golden.load('llama').ids])
    feeds['attention_mask'] = numpy.ones_like(feeds['input_ids'])
    every, last = (
        session.run(['logits'], {**feeds, 'num_logits_to_keep': numpy.array(count)})[0]
        for count in (0, 2))
    assert every.shape[1] == 48 and last.shape[1] == 2
    assert numpy.abs(every[:, -2:] - last).max() < 1e-4


def test_accuracy_level_4_makes_int4_less_exact(tmp_path):
    wanted = golden.load('lfm2-int4')
    exact = variants.with_accuracy_level(FOLDER / 'lfm2-int4', tmp_path / 'exact', 0)
    found = score(runner_of('lfm2-int4', exact / 'model.onnx'), wanted.ids, 48)
    assert largest_difference(found, wanted.log_probabilities) <= 1e-4


def test_variants_follow_one_another(tmp_path):
    folder = written_out.with_written_out_convolution(FOLDER / 'lfm2', tmp_path / 'a')
    folder = variants.with_position_ids(folder, tmp_path / 'b')
    folder = variants.with_state_size(folder, tmp_path / 'c')
    assert_golden('lfm2', layouts.in_one_file(folder, tmp_path / 'd') / 'model.onnx')


@pytest.mark.parametrize('files', [1, 3])
@pytest.mark.parametrize('suffix', ['_data', '.data'])
def test_external_data_gives_golden_numbers(files, suffix, tmp_path):
    folder = layouts.with_external_data(FOLDER / 'lfm2', tmp_path / 'model', suffix, files)
    ends = [suffix + (f'_{i}' if i else '') for i in range(files)]
    found = sorted(path.name for path in folder.glob('model.onnx?*'))
    assert found == sorted(f'model.onnx{end}' for end in ends)
    assert_golden('lfm2', folder / 'model.onnx')


def test_onnx_community_layout_gives_golden_numbers(tmp_path):
    sources = {'': 'lfm2-past-conv', '_fp16': 'lfm2-past-conv-fp16', '_q4': 'lfm2-int4'}
    folder = layouts.in_onnx_community_layout(
        {suffix: FOLDER / name for suffix, name in sources.items()}, tmp_path / 'model', files=2)
    assert (folder / 'config.json').exists() and (folder / 'tokenizer.json').exists()
    assert not (folder / 'genai_config.json').exists()
    for suffix, name in sources.items():
        assert_golden(name, folder / 'onnx' / f'model{suffix}.onnx')


@pytest.mark.parametrize('harm', [
    lambda s, t: damage.truncated(s, t, 'model.onnx'), damage.truncated, damage.missing,
    damage.empty, damage.garbage, damage.lfs_pointer])
def test_damaged_folder_does_not_open(harm, tmp_path):
    folder = harm(FOLDER / 'llama', tmp_path / 'model')
    with pytest.raises(Exception):
        PlainRunner(folder / 'model.onnx', 16).feed([1])


@pytest.mark.filterwarnings('ignore:invalid value:RuntimeWarning')
def test_not_a_number_reaches_the_logits(tmp_path):
    folder = damage.not_a_number(FOLDER / 'llama', tmp_path / 'model')
    assert numpy.isnan(runner_of('llama', folder / 'model.onnx').feed([1])).all()


@pytest.mark.parametrize('foreign', [damage.foreign_image_net, damage.foreign_text_encoder])
def test_foreign_graph_opens_and_is_no_language_model(foreign, tmp_path):
    folder = foreign(FOLDER / 'lfm2', tmp_path / 'model')
    session = onnxruntime.InferenceSession(str(folder / 'model.onnx'))
    assert not any(item.name.startswith('past') for item in session.get_inputs())


def test_source_is_left_as_it_was(tmp_path):
    before = {p.name: p.read_bytes() for p in (FOLDER / 'lfm2').iterdir()}
    variants.with_state_size(FOLDER / 'lfm2', tmp_path / 'a')
    layouts.in_one_file(FOLDER / 'lfm2', tmp_path / 'b')
    damage.truncated(FOLDER / 'lfm2', tmp_path / 'c')
    assert before == {p.name: p.read_bytes() for p in (FOLDER / 'lfm2').iterdir()}
    assert graph_folder.read(tmp_path / 'a').graph.name == 'main_graph'
