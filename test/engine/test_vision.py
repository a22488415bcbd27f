# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Exports of LFM2-VL of either split see what transformers sees."""
import json
import shutil

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.engine.vision.image_processor import ImageProcessor
from lfm_ros.engine.vision.image_processor import ImageSettings
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import onnx
from PIL import Image as PillowImage
import pytest
from support import lfm
from vision_support import BY_NAME
from vision_support import folder
from vision_support import image
from vision_support import NAMES
from vision_support import open_model
from vision_support import picture
from vision_support import SEEING

import vision_golden  # noqa: I100
import vision_variants

CASES = list(vision_golden.CASES)
SEEN = [case for case in CASES if vision_golden.CASES[case]]


def pictures_of(model, case):
    prepare = model.vision.processor.prepare
    return [prepare(picture(*size)) for size in vision_golden.CASES[case]]


def features_of(model, case):
    return np.concatenate([model.vision.features(p) for p in pictures_of(model, case)])


def read(model, ids, features, size):
    """Return the log-probabilities after ids that are read in calls of a size."""
    state, known, logits = model.new_state(), 0, None
    for start in range(0, len(ids), size):
        call = ids[start:start + size]
        count = call.count(model.image_id)
        part = features[known:known + count] if count else None
        logits = model.runner.run(state, call, features=part)[-1].astype(np.float64)
        known += count
    return logits - np.logaddexp.reduce(logits), state


def assert_golden(model, case, tolerance):
    golden = vision_golden.load(SEEING)
    wanted = golden.cases[case]
    features = features_of(model, case) if wanted.pictures else np.zeros(
        (0, 32), np.float32)
    if wanted.pictures:
        assert np.abs(features - golden.features[case]).max() <= tolerance
    found, _ = read(model, wanted.ids, features, 16)
    logits = golden.logits[case].astype(np.float64)
    assert np.abs(found - logits + np.logaddexp.reduce(logits)).max() <= tolerance


@pytest.mark.parametrize('case', SEEN)
@pytest.mark.parametrize('name', NAMES)
def test_features_of_pictures_are_those_of_transformers(name, case):
    found, wanted = features_of(open_model(name), case), vision_golden.load(name).features[case]
    assert found.shape == wanted.shape and found.dtype == np.float32
    assert np.abs(found - wanted).max() <= 1e-4


@pytest.mark.parametrize('size', [1, 7, 64, 500])
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('name', NAMES)
def test_log_probabilities_after_pictures_are_those_of_transformers(name, case, size):
    model, golden = open_model(name), vision_golden.load(name)
    wanted = golden.cases[case]
    features = features_of(model, case) if wanted.pictures else None
    found, state = read(model, wanted.ids, features, size)
    logits = golden.logits[case].astype(np.float64)
    assert np.abs(found - logits + np.logaddexp.reduce(logits)).max() <= 1e-3
    for token, expected in zip(wanted.greedy, wanted.log_probabilities):
        assert abs(found[token] - expected) <= 1e-3
        after = model.runner.run(state, [token])[-1].astype(np.float64)
        found = after - np.logaddexp.reduce(after)


@pytest.mark.parametrize('case', SEEN)
def test_a_picture_is_laid_out_as_transformers_does(case):
    model, wanted = open_model(), vision_golden.load(SEEING).cases[case]
    found = [i for p in pictures_of(model, case) for i in model.vision.ids(p)]
    start = wanted.ids.index(found[0])
    assert wanted.ids[start:start + len(found)] == found
    assert found.count(model.image_id) == sum(wanted.tokens)


def test_the_early_names_of_graphs_are_known(tmp_path):
    early = vision_variants.with_early_names(folder(), tmp_path / 'model')
    model = Model(early, ModelOptions(threads=1))
    assert model.describe()['vision']
    assert_golden(model, 'wide', 1e-3)


@pytest.mark.parametrize('inside', [
    (), ('embed_tokens',), ('vision_encoder',), ('vision_encoder', 'embed_tokens')], ids=str)
def test_parts_in_half_precision_are_run_with_whatever_type_they_take(tmp_path, inside):
    half = vision_variants.with_half_precision(folder(), tmp_path / 'model', inside)
    for name in ('vision_encoder', 'embed_tokens'):
        (half / 'onnx' / f'{name}.onnx').unlink(missing_ok=True)
    assert_golden(Model(half, ModelOptions(threads=1)), 'wide', 0.05)


def test_an_encoder_is_chosen_by_its_variant(tmp_path):
    half = vision_variants.with_half_precision(folder(), tmp_path / 'model', ())
    shutil.copy(folder() / 'onnx' / 'vision_encoder.onnx', half / 'onnx')
    for variant, name in (('', 'vision_encoder.onnx'), ('fp16', 'vision_encoder_fp16.onnx'),
                          ('vision_encoder_fp16.onnx', 'vision_encoder_fp16.onnx')):
        found = Model(half, ModelOptions(threads=1, image_variant=variant)).folder.vision
        assert found.name == name
    with pytest.raises(LfmError, match="no vision encoder 'q4': set image.variant") as raised:
        Model(half, ModelOptions(image_variant='q4'))
    assert raised.value.code == ErrorCode.MODEL_NOT_FOUND


def test_a_picture_that_was_seen_lately_is_not_encoded_again(monkeypatch):
    model = Model(folder(), ModelOptions(threads=1))
    first, again = pictures_of(model, 'two')[0], pictures_of(model, 'small')[0]
    assert first.digest == again.digest
    known = model.vision.features(first)
    monkeypatch.setattr(model.vision, '_run', None)
    assert model.vision.features(again) is known
    assert model.vision.nbytes == known.nbytes


def test_features_leave_the_oldest_first_when_memory_is_wanted(monkeypatch):
    model = Model(folder(), ModelOptions(threads=1))
    one, two = pictures_of(model, 'two')
    sizes = [model.vision.features(p).nbytes for p in (one, two, one)]
    model.vision.shrink(sizes[0])
    monkeypatch.setattr(model.vision, '_run', None)
    model.vision.features(one)
    with pytest.raises(TypeError):
        model.vision.features(two)


def test_an_encoder_that_is_not_kept_comes_back_with_the_next_picture():
    model = Model(folder(), ModelOptions(threads=1, encoder_keep_alive=0.0))
    kept = open_model()
    assert not model.vision.is_loaded and kept.vision.is_loaded
    shown = pictures_of(model, 'small')[0]
    found = model.vision.features(shown)
    assert model.vision.is_loaded and np.array_equal(found, kept.vision.features(shown))
    model.vision.release_idle()
    kept.vision.release_idle()
    assert not model.vision.is_loaded and kept.vision.is_loaded


def test_encoding_ends_when_the_request_is_cancelled():
    model, cancel_token = Model(folder(), ModelOptions(threads=1)), CancelToken()
    cancel_token.set()
    with pytest.raises(RunCancelled):
        model.vision.features(pictures_of(model, 'small')[0], cancel_token)
    assert model.vision.nbytes == 0


def test_a_model_never_writes_an_image_token():
    model = Model(folder(), ModelOptions(threads=1))
    done = lfm('ask', folder(), 'Where?', '--json', '--temperature', '5', '--max-tokens', '200',
               '--seed', '3')
    assert done.returncode == 0, done.stderr
    assert model.image_id not in model.tokenizer.encode_control(json.loads(done.stdout)['text'])


def test_lfm_score_has_a_number_for_every_id_behind_an_image(tmp_path):
    golden = vision_golden.load(SEEING).cases['wide']
    file = tmp_path / 'wide.png'
    file.write_bytes(image(*vision_golden.CASES['wide'][0]).data)
    # Only the image and what follows it: another text before it is another conversation.
    end = len(golden.ids) - golden.ids[::-1].index(499)
    start = golden.ids.index(498)
    model = open_model()
    features = features_of(model, 'wide')
    ids = golden.ids[end:]
    wanted = [read(model, golden.ids[start:end + n], features, 500)[0][i]
              for n, i in enumerate(ids)]
    for chunk in (3, 64):
        done = lfm('score', folder(), '--image', file, '--ids', ','.join(map(str, ids)),
                   '--chunk', chunk, '--json')
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)['logprobs']
        assert len(found) == len(ids)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_lfm_ask_tells_how_an_image_of_sixteen_bits_is_shown(tmp_path):
    for file, values in (('depth.png', np.full((64, 64), 1000, np.uint16)),
                         ('grey.png', np.full((64, 64), 100, np.uint8))):
        PillowImage.fromarray(values).save(tmp_path / file)
        done = lfm('ask', folder(), 'What?', '--max-tokens', 1, '--image', tmp_path / file)
        assert ('872 as black and 1127 as white' in done.stderr) == (file == 'depth.png')


def test_lfm_inspect_tells_that_a_model_sees():
    done = lfm('inspect', folder(), '--json')
    told = json.loads(done.stdout)
    assert told['vision'] is True and told['image_tokens'] == 16
    assert {'onnx/vision_encoder.onnx', 'onnx/embed_tokens.onnx',
            'preprocessor_config.json'} <= set(told['files'])


def test_the_fingerprint_changes_with_the_eyes(tmp_path):
    copied = shutil.copytree(folder(), tmp_path / 'model')
    before = Model(copied, ModelOptions(threads=1)).folder.fingerprint
    settings = copied / 'preprocessor_config.json'
    settings.write_text(settings.read_text().replace('"resample": 3', '"resample": 2'))
    assert Model(copied, ModelOptions(threads=1)).folder.fingerprint != before


# what can be wrong with a folder

def spoiled(tmp_path, spoil):
    copied = shutil.copytree(folder(), tmp_path / 'model')
    spoil(copied / 'onnx')
    with pytest.raises(LfmError) as raised:
        Model(copied, ModelOptions(threads=1))
    assert '\n' not in raised.value.message
    return raised.value


def change_graph(path, change):
    graph = onnx.load(path)
    change(graph.graph)
    onnx.save(graph, path)


def rename_input(graph, old, new):
    for item in graph.input:
        if item.name == old:
            item.name = new
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def test_a_decoder_without_its_embeddings_is_named(tmp_path):
    error = spoiled(tmp_path, lambda onnx_folder: (onnx_folder / 'embed_tokens.onnx').unlink())
    assert error.code == ErrorCode.WEIGHTS_MISSING and 'embed_tokens.onnx' in error.message


@pytest.mark.parametrize('name', ['vision_encoder', 'embed_tokens'])
def test_a_part_that_is_cut_off_is_named(tmp_path, name):
    def cut(onnx_folder):
        path = onnx_folder / f'{name}.onnx'
        path.write_bytes(path.read_bytes()[:2000])

    error = spoiled(tmp_path, cut)
    assert error.code == ErrorCode.MODEL_DAMAGED and name in error.message


def test_an_encoder_that_takes_something_else_is_named(tmp_path):
    error = spoiled(tmp_path, lambda f: change_graph(
        f / 'vision_encoder.onnx', lambda g: rename_input(g, 'spatial_shapes', 'other')))
    assert error.code == ErrorCode.MODEL_FOREIGN and 'vision encoder takes' in error.message


def test_embeddings_that_take_something_else_are_named(tmp_path):
    error = spoiled(tmp_path, lambda f: change_graph(
        f / 'embed_tokens.onnx', lambda g: rename_input(g, 'input_ids', 'other')))
    assert error.code == ErrorCode.MODEL_FOREIGN and 'instead of input_ids' in error.message


def test_a_tokenizer_without_image_tokens_is_named(tmp_path):
    def spoil(onnx_folder):
        file = onnx_folder.parent / 'tokenizer.json'
        file.write_text(file.read_text().replace('<image>', '<inage>'))

    error = spoiled(tmp_path, spoil)
    assert error.code == ErrorCode.TOKENIZER_INVALID and '<image>' in error.message


def test_settings_for_more_patches_than_the_encoder_takes_are_named(tmp_path):
    def spoil(onnx_folder):
        file = onnx_folder.parent / 'preprocessor_config.json'
        file.write_text(json.dumps({**json.loads(file.read_text()), 'max_image_tokens': 256}))

    error = spoiled(tmp_path, spoil)
    assert error.code == ErrorCode.MODEL_FOREIGN and 'takes 64 patches' in error.message
    assert 'preprocessor_config.json allows 1024' in error.message


@pytest.mark.parametrize('file', ['', 'processor_config.json', 'config.json'])
def test_settings_are_named_by_the_file_that_they_are_from(tmp_path, file):
    def spoil(onnx_folder):
        given = {'max_image_tokens': 256}
        (onnx_folder.parent / 'preprocessor_config.json').unlink()
        (onnx_folder.parent / 'processor_config.json').unlink()
        if file:
            path = onnx_folder.parent / file
            settings = json.loads(path.read_text()) if path.exists() else {}
            settings.update({'image_processor': given} if file[0] == 'p' else given)
            path.write_text(json.dumps(settings))

    message = spoiled(tmp_path, spoil).message
    assert f'takes 64 patches, {file} allows 1024' in message if file else \
        'the default, since the folder has no preprocessor_config.json, allows 1024' in message


def test_a_folder_without_an_encoder_reads_text_and_says_why_it_does_not_see(tmp_path):
    copied = shutil.copytree(folder(), tmp_path / 'model')
    (copied / 'onnx' / 'vision_encoder.onnx').unlink()
    model = Model(copied, ModelOptions(threads=1))
    assert not model.describe()['vision']
    assert model.runner.run(model.new_state(), [1, 2, 3]).shape == (1, 512)
    with pytest.raises(LfmError, match='its vision encoder is missing') as raised:
        model.require_vision()
    assert raised.value.code == ErrorCode.NO_VISION


def test_settings_of_the_folder_decide_how_pictures_are_resized():
    for name in NAMES:
        assert open_model(name).vision.processor.settings.resample == BY_NAME[name].resample
    assert ImageProcessor(ImageSettings()).settings.resample == 2
