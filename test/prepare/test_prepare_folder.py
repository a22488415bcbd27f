# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verb `prepare`: a whole folder or nothing, and one sentence when it refuses."""
from __future__ import annotations

import json
from pathlib import Path
import shutil

import numpy as np
import pytest
from support import assert_one_line
from support import folder
from support import lfm
from support import MODELS

pytest.importorskip('onnx')

import layouts  # noqa: E402, I100
from lfm_ros.engine.files.folder import find_model  # noqa: E402, I100
from lfm_ros.engine.runtime.session import runtime_version  # noqa: E402, I100
from lfm_ros.errors import ErrorCode  # noqa: E402, I100
from lfm_ros.errors import LfmError  # noqa: E402, I100
from lfm_ros.prepare import folder as making  # noqa: E402, I100
from lfm_ros.prepare import VERSION  # noqa: E402, I100
from lfm_ros.prepare.cache import ready  # noqa: E402, I100
from lfm_ros.prepare.folder import prepare  # noqa: E402, I100
from lfm_ros.prepare.folder import PrepareOptions  # noqa: E402, I100
from lfm_ros.prepare.graph import load  # noqa: E402, I100
from lfm_ros.prepare.pipeline import APPLIED  # noqa: E402, I100
from lfm_ros.prepare.pipeline import read_note  # noqa: E402, I100
from lfm_ros.prepare.reference import open_embed  # noqa: E402, I100
from lfm_ros.prepare.reference import open_reference  # noqa: E402, I100
from lfm_ros.prepare.reference import sample  # noqa: E402, I100
import written_out  # noqa: E402, I100

VISION = ['vision/lfm2-vl', 'vision/lfm2-vl-past-conv']


def says(source: Path) -> np.ndarray:
    """Return logits of a model folder, by itself and with its own embeddings."""
    found = find_model(source)
    return sample(open_reference(found.graph, found, embed=open_embed(found)))


@pytest.mark.parametrize('name', ['lfm2', 'lfm2-int4', 'lfm2-moe', 'phi'])
def test_the_copy_is_whole_and_says_the_same(name, tmp_path):
    source = folder(name)
    report = prepare(source, tmp_path / 'out')
    assert {p.name for p in source.iterdir()} == {p.name for p in (tmp_path / 'out').iterdir()}
    shutil.copytree(tmp_path / 'out', tmp_path / 'moved')
    assert np.array_equal(says(tmp_path / 'moved'), says(source))
    note = read_note(load(tmp_path / 'out' / 'model.onnx'))
    assert note['edits'] == report.edits and note['version'] == VERSION
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith('.')] == []


def test_the_model_itself_is_not_touched(tmp_path):
    shutil.copytree(folder('lfm2'), tmp_path / 'lfm2')
    before = {p.name: p.read_bytes() for p in (tmp_path / 'lfm2').iterdir()}
    prepare(tmp_path / 'lfm2', tmp_path / 'out', options=PrepareOptions(kv='int8'))
    assert {p.name: p.read_bytes() for p in (tmp_path / 'lfm2').iterdir()} == before


@pytest.mark.parametrize('name', VISION)
def test_a_vision_model_is_copied_with_all_its_graphs(name, tmp_path):
    source = MODELS / name
    prepare(source, tmp_path / 'out')
    found = find_model(tmp_path / 'out')
    assert found.graph.name == 'model.onnx'
    assert found.embedding and found.embedding.parent == tmp_path / 'out'
    assert found.vision and found.vision.parent == tmp_path / 'out'
    if runtime_version() >= (1, 29):
        assert np.array_equal(says(tmp_path / 'out'), says(source))


@pytest.mark.parametrize('layout', [
    lambda s, t: layouts.in_one_file(s, t),
    lambda s, t: layouts.with_external_data(s, t, files=3),
    lambda s, t: layouts.with_external_data(s, t, suffix='.data_1'),
    lambda s, t: layouts.in_onnx_community_layout({'_q4': s}, t)],
    ids=['one file', 'three files', 'another name', 'hub'])
def test_weights_end_in_one_file_wherever_they_were(layout, tmp_path):
    source = layout(folder('lfm2-int4'), tmp_path / 'source')
    prepare(source, tmp_path / 'out')
    data = [p.name for p in (tmp_path / 'out').iterdir() if 'data' in p.name]
    assert data in (['model.onnx.data'], [])
    assert np.array_equal(says(tmp_path / 'out'), says(source))


def test_the_variant_is_chosen(tmp_path):
    layouts.in_onnx_community_layout(
        {'': folder('lfm2'), '_q4': folder('lfm2-int4')}, tmp_path / 'source')
    prepare(tmp_path / 'source', tmp_path / 'out', 'fp32')
    assert np.array_equal(says(tmp_path / 'out'), says(folder('lfm2')))


def test_genai_config_names_the_new_graph(tmp_path):
    shutil.copytree(folder('lfm2'), tmp_path / 'source')
    (tmp_path / 'source' / 'model.onnx').rename(tmp_path / 'source' / 'text.onnx')
    settings = tmp_path / 'source' / 'genai_config.json'
    content = json.loads(settings.read_text())
    content['model']['decoder']['filename'] = 'text.onnx'
    settings.write_text(json.dumps(content))
    prepare(tmp_path / 'source', tmp_path / 'out')
    assert find_model(tmp_path / 'out').graph.name == 'model.onnx'


def test_all_wishes_at_once(tmp_path):
    report = prepare(folder('lfm2-int4'), tmp_path / 'out', options=PrepareOptions(
        portable=True, kv='int8', prefill='fast', lanes=3))
    assert {e for e, said in report.edits.items() if said == APPLIED} == {
        'portable', 'head', 'history', 'kv', 'prefill', 'company', 'long'}
    graph = load(tmp_path / 'out' / 'model.onnx')
    note = read_note(graph)
    assert note['slots'] == 3 and note['kv']['type'] == 'int8'
    assert 0 < note['kv']['mean'] < 1 and note['kv']['same_best'] > 0.8
    assert note['prefill']['bytes'] == (tmp_path / 'out' / 'prefill.onnx.data').stat().st_size
    plain = {n for n in graph.inputs if not n.startswith(('slot.', 'company'))}
    assert set(load(tmp_path / 'out' / 'prefill.onnx').inputs) == plain
    found = find_model(tmp_path / 'out')
    entry = ready(found, tmp_path / 'cache')
    assert entry and (entry / 'prefill.onnx').exists()
    for name in ('model.onnx', 'prefill.onnx'):
        assert np.array_equal(sample(open_reference(entry / name, found, prepacked=True)),
                              sample(open_reference(found.root / name, found)))


def refused(code: ErrorCode, *words: str, out: Path, source: Path = Path('lfm2'),
            **wishes) -> None:
    """Check that a wish is refused in one sentence, and that nothing is left behind."""
    source = source if source.is_absolute() else folder(str(source))
    before = sorted(out.parent.iterdir()) if out.parent.is_dir() else []
    with pytest.raises(LfmError) as caught:
        prepare(source, out, options=PrepareOptions(**wishes))
    assert caught.value.code == code
    assert_one_line(caught.value.message, *words)
    assert (sorted(out.parent.iterdir()) if out.parent.is_dir() else []) == before


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'file').write_text('mine')
    refused(ErrorCode.INVALID_VALUE, 'out', out=tmp_path / 'out')
    refused(ErrorCode.INVALID_VALUE, 'file', out=tmp_path / 'out' / 'file')
    assert (tmp_path / 'out' / 'file').read_text() == 'mine'


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / 'out').mkdir()
    prepare(folder('lfm2'), tmp_path / 'out')
    assert (tmp_path / 'out' / 'model.onnx').exists()


def test_what_is_prepared_is_not_prepared_again(tmp_path):
    prepare(folder('lfm2'), tmp_path / 'out')
    refused(ErrorCode.UNSUPPORTED, 'prepared', source=tmp_path / 'out', out=tmp_path / 'two')


def test_what_this_graph_cannot_be_is_refused(tmp_path):
    written_out.with_written_out_attention(folder('lfm2'), tmp_path / 'plain')
    refused(ErrorCode.UNSUPPORTED, '--kv', 'GroupQueryAttention', source=tmp_path / 'plain',
            out=tmp_path / 'out', kv='int8')
    refused(ErrorCode.UNSUPPORTED, '--kv', source=Path('lfm2-int8-state'), out=tmp_path / 'out',
            kv='int8')
    refused(ErrorCode.UNSUPPORTED, '--prefill', 'MatMulNBits', out=tmp_path / 'out',
            prefill='fast')
    refused(ErrorCode.INVALID_VALUE, '--slots', out=tmp_path / 'out', lanes=0)


def test_a_text_that_is_too_short_or_missing_is_refused(tmp_path):
    (tmp_path / 'text').write_text('Go.')
    for name in ('text', 'nothing'):
        refused(ErrorCode.INVALID_VALUE, 'text', out=tmp_path / 'out', kv='int8',
                text=tmp_path / name)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(making.shutil, 'disk_usage', lambda path: usage)
    refused(ErrorCode.STORAGE_FAILED, 'MB', out=tmp_path / 'out')
    monkeypatch.undo()

    def fail(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(making, '_put_rest', fail)
    refused(ErrorCode.STORAGE_FAILED, 'No space left', out=tmp_path / 'out')


def test_missing_weights_are_named(tmp_path):
    layouts.with_external_data(folder('lfm2'), tmp_path / 'source', files=3)
    (tmp_path / 'source' / 'model.onnx_data_1').unlink()
    refused(ErrorCode.WEIGHTS_MISSING, 'model.onnx_data_1', source=tmp_path / 'source',
            out=tmp_path / 'out')


def test_the_command_prints_what_was_done(tmp_path):
    done = lfm('prepare', folder('lfm2-int4'), tmp_path / 'out', '--kv', 'int8', '--json')
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    report = json.loads(done.stdout)
    assert report['edits']['head'] == APPLIED and report['kv']['tokens'] > 50
    done = lfm('prepare', folder('lfm2-int4'), tmp_path / 'out')
    assert done.returncode == 2
    assert_one_line(done.stderr, 'out')
    done = lfm('prepare', folder('lfm2-int4'), tmp_path / 'two')
    assert done.returncode == 0 and done.stderr == ''
    assert done.stdout.splitlines()[1].split() == ['head', APPLIED]
