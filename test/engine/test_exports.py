# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every form in which a model is published opens and gives the same numbers."""
import json
from pathlib import Path
import shutil

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.files.folder import VARIANT_SUFFIXES
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import onnx
import pytest
from support import ask
from support import continue_greedily
from support import folder
from support import golden
from support import log_probabilities
from support import NAMES
from support import open_model

import layouts  # noqa: I100
import variants
import written_out

FP32 = ['lfm2', 'lfm2-odd', 'lfm2-past-conv', 'lfm2-past-conv-odd', 'lfm2-moe', 'qwen3', 'llama']
VARIANTS = {
    'position_ids': variants.with_position_ids,
    'num_logits_to_keep': variants.with_num_logits_to_keep,
    'last logits only': variants.with_last_logits_only,
    'size of heads as a number': variants.with_state_size,
    'size of heads as a name': variants.without_state_size,
    'batch of 1': variants.with_fixed_batch,
    'inputs in another order': variants.with_reversed_signature,
    'attention in plain operators': written_out.with_written_out_attention,
    'weights in the graph': layouts.in_one_file,
    'weights in two files': lambda s, t: layouts.with_external_data(s, t, files=2),
    'weights under another name': lambda s, t: layouts.with_external_data(s, t, '_data'),
    'no genai_config.json': lambda s, t: layouts.without(s, t, 'genai_config.json'),
    'no generation_config.json': lambda s, t: layouts.without(s, t, 'generation_config.json'),
}


def check(model, name):
    """Compare a model with the golden numbers of a fixture, in one call and one by one."""
    expected = golden(name)
    splits = ([1],) if model.runner.head_pruned else ([48], [7], [1])
    for split in splits:
        found = log_probabilities(model, expected['ids'], list(split))
        assert np.abs(np.subtract(found, expected['log_probabilities'])).max() \
            <= expected['tolerance'], split
    if expected['tolerance'] <= expected['margin']:
        prompt, greedy = expected['prompt'], expected['greedy']
        assert continue_greedily(model, prompt, len(greedy)) == greedy


def opened(path, **options):
    return Model(path, ModelOptions(threads=1, **options))


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('name', FP32)
def test_a_variant_opens_and_gives_the_same_numbers_and_answers(name, variant, tmp_path):
    model = opened(VARIANTS[variant](folder(name), tmp_path / 'm'))
    check(model, name)
    assert model.runner.shared == (variant != 'attention in plain operators')
    assert model.runner.head_pruned == (variant == 'last logits only')
    assert bool(model.signature.positions) == (variant == 'position_ids')
    assert bool(model.signature.keep) == (variant == 'num_logits_to_keep')
    texts = []
    for each in (model, open_model(name)):
        mission = Mission('m', each, each.template.preamble('You are a robot.'))
        ask(mission, 'What do you see on the table, and where is the dock?')
        ask(mission, 'Go there.')
        texts.append([turn.text for turn in mission.turns])
    assert texts[0] == texts[1]


@pytest.mark.parametrize('name', ['lfm2', 'lfm2-odd', 'lfm2-moe'])
def test_convolution_in_plain_operators_gives_the_same_numbers(name, tmp_path):
    model = opened(written_out.with_written_out_convolution(folder(name), tmp_path / 'm'))
    check(model, name)
    assert model.runner.shared


def test_two_variants_at_once_give_the_same_numbers(tmp_path):
    first = variants.with_position_ids(folder('qwen3'), tmp_path / '1')
    second = variants.without_state_size(first, tmp_path / '2')
    check(opened(variants.with_last_logits_only(second, tmp_path / '3')), 'qwen3')


@pytest.mark.parametrize('level', [0, 4])
def test_int4_of_either_accuracy_opens(level, tmp_path):
    source = folder('lfm2-int4-exact')
    model = opened(variants.with_accuracy_level(source, tmp_path / 'm', level))
    check(model, 'lfm2-int4-exact' if level == 0 else 'lfm2-int4')


@pytest.mark.parametrize('name', NAMES)
def test_keys_and_values_are_appended_in_place_wherever_the_graph_allows_it(name):
    assert open_model(name).describe()['shared_kv']


@pytest.mark.parametrize('name', NAMES)
def test_the_types_of_the_state_are_those_of_the_graph(name):
    model = open_model(name)
    types = {t.kind: t.dtype for t in model.signature.states}
    state16 = 'fp16' in name
    assert types.get('conv', types['key']) == (np.float16 if state16 else np.float32)
    assert types['key'] == (np.int8 if name == 'lfm2-int8-state' else
                            np.float16 if state16 else np.float32)


def test_an_fp16_graph_for_the_cpu_that_reads_only_one_token_behind_a_past_works():
    model = opened(folder('difficult/lfm2-fp16-mha'))
    expected = golden('lfm2-fp16-mha')
    for split in ([48], [8, 1], [1]):
        found = log_probabilities(model, expected['ids'], split)
        assert np.abs(np.subtract(found, expected['log_probabilities'])).max() \
            <= expected['tolerance']
    mission = Mission('m', model, model.template.preamble('You are a robot.'))
    ask(mission, 'Where?')
    ask(mission, 'Go there.')
    check_twice(mission)


def check_twice(mission):
    """Check that a rewound mission answers as before."""
    texts = [turn.text for turn in mission.turns]
    mission.rewind(1)
    ask(mission, 'Go there.')
    assert [turn.text for turn in mission.turns] == texts


def test_an_fp16_graph_for_a_gpu_is_refused_on_a_cpu():
    with pytest.raises(LfmError) as caught:
        opened(folder('difficult/lfm2-fp16-gpu'))
    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert 'CPUExecutionProvider' in caught.value.message


@pytest.fixture(scope='module')
def community(tmp_path_factory):
    """Return a folder as onnx-community publishes it, with several precisions."""
    target = tmp_path_factory.mktemp('community') / 'LFM2-tiny-ONNX'
    sources = {'': 'lfm2-past-conv', '_fp16': 'lfm2-past-conv-fp16', '_q4': 'lfm2-int4-exact',
               '_quantized': 'lfm2-int8'}
    return layouts.in_onnx_community_layout(
        {suffix: folder(name) for suffix, name in sources.items()}, target, files=2)


@pytest.mark.parametrize('variant, name', [
    ('', 'lfm2-int4-exact'), ('q4', 'lfm2-int4-exact'), ('q8', 'lfm2-int8'),
    ('fp32', 'lfm2-past-conv'), ('fp16', 'lfm2-past-conv-fp16'),
    ('model_quantized', 'lfm2-int8'), ('onnx/model_fp16.onnx', 'lfm2-past-conv-fp16')])
def test_a_variant_of_onnx_community_is_chosen_by_name(community, variant, name):
    model = opened(community, variant=variant)
    assert model.name == 'LFM2-tiny-ONNX'
    check(model, name)


def test_a_graph_may_be_given_by_its_file(community):
    model = opened(community / 'onnx' / 'model.onnx')
    assert model.name == 'LFM2-tiny-ONNX' and model.folder.graph.name == 'model.onnx'
    check(model, 'lfm2-past-conv')
    assert opened(folder() / 'model.onnx').end_ids == open_model().end_ids


def test_what_a_cpu_runs_best_is_chosen_first(tmp_path):
    (tmp_path / 'onnx').mkdir()
    order = [suffix for suffixes in VARIANT_SUFFIXES.values() for suffix in suffixes]
    for suffix in reversed(order):
        (tmp_path / 'onnx' / f'model{suffix}.onnx').touch()
    for suffix in order:
        chosen = find_model(tmp_path).graph
        assert chosen.name == f'model{suffix}.onnx'
        chosen.unlink()


def test_a_folder_with_one_graph_of_any_name_needs_no_variant(tmp_path):
    shutil.copytree(folder(), tmp_path / 'm')
    (tmp_path / 'm' / 'genai_config.json').unlink()
    (tmp_path / 'm' / 'model.onnx').rename(tmp_path / 'm' / 'my robot.onnx')
    check(opened(tmp_path / 'm'), 'lfm2-past-conv')


def test_sizes_left_open_by_the_graph_come_from_either_config(tmp_path):
    source = variants.without_state_size(folder('lfm2-past-conv-odd'), tmp_path / '1')
    check(opened(layouts.without(source, tmp_path / '2', 'genai_config.json')),
          'lfm2-past-conv-odd')
    check(opened(layouts.without(source, tmp_path / '3', 'config.json')), 'lfm2-past-conv-odd')


def test_a_model_opened_without_words_needs_no_tokenizer(tmp_path):
    names = ('tokenizer.json', 'tokenizer_config.json', 'generation_config.json')
    target = layouts.without(folder(), tmp_path / 'm', *names)
    check(Model(target, ModelOptions(threads=1), with_text=False), 'lfm2-past-conv')


def test_the_fingerprint_changes_with_the_model_and_with_nothing_else(tmp_path):
    copy = Path(shutil.copytree(folder(), tmp_path / 'elsewhere'))
    before = find_model(copy).fingerprint
    assert before == find_model(folder()).fingerprint
    (copy / 'README.md').write_text('hello')
    assert find_model(copy).fingerprint == before
    for name in ('model.onnx', 'model.onnx.data', 'tokenizer.json', 'config.json'):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content.replace(b'1', b'2', 1))
        assert find_model(copy).fingerprint != before, name
        (copy / name).write_bytes(content)
    assert find_model(copy).fingerprint == before


def test_the_files_of_a_model_are_those_that_it_needs():
    names = ['model.onnx', 'model.onnx.data', 'config.json', 'genai_config.json',
             'tokenizer.json', 'tokenizer_config.json']
    assert [p.name for p in find_model(folder()).files] == names


def test_the_fingerprint_covers_weights_under_any_name(tmp_path):
    model = onnx.load(str(folder() / 'model.onnx'))
    shutil.copytree(folder(), tmp_path / 'm')
    (tmp_path / 'm' / 'model.onnx.data').unlink()
    onnx.save(model, str(tmp_path / 'm' / 'model.onnx'), save_as_external_data=True,
              location='weights.bin', size_threshold=256)
    before = find_model(tmp_path / 'm').fingerprint
    weights = tmp_path / 'm' / 'weights.bin'
    weights.write_bytes(weights.read_bytes()[::-1])
    assert find_model(tmp_path / 'm').fingerprint != before


def test_end_tokens_and_sampling_are_those_of_the_model(tmp_path):
    assert open_model('llama').end_ids >= {313, 317, 318}
    assert 7 in open_model().end_ids
    shutil.copytree(folder(), tmp_path / 'm')
    (tmp_path / 'm' / 'generation_config.json').write_text(
        json.dumps({'eos_token_id': [5, 9], 'temperature': 0.1, 'top_k': 50}))
    model = opened(tmp_path / 'm')
    assert {5, 7, 9} <= model.end_ids
    assert (model.sampling.temperature, model.sampling.top_k) == (0.1, 50)
