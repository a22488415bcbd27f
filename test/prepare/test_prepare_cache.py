# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The cache of prepared graphs: made once, checked at each use, never in the way."""
from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path
import shutil

import numpy as np
import pytest
from support import folder
from support import MODELS

pytest.importorskip('onnx')

from lfm_ros.engine.files.folder import find_model  # noqa: E402, I100
from lfm_ros.engine.runtime.session import runtime_version  # noqa: E402, I100
from lfm_ros.prepare import build as making  # noqa: E402, I100
from lfm_ros.prepare import cache  # noqa: E402, I100
from lfm_ros.prepare.cache import ready  # noqa: E402, I100
from lfm_ros.prepare.graph import load  # noqa: E402, I100
from lfm_ros.prepare.manifest import MANIFEST  # noqa: E402, I100
from lfm_ros.prepare.pipeline import APPLIED  # noqa: E402, I100
from lfm_ros.prepare.pipeline import read_note  # noqa: E402, I100
from lfm_ros.prepare.reference import open_reference  # noqa: E402, I100
from lfm_ros.prepare.reference import sample  # noqa: E402, I100


@pytest.fixture(autouse=True)
def all_of_the_log(caplog):
    """Let tests see what is said at INFO."""
    caplog.set_level(logging.INFO)


def model(tmp_path: Path, name: str = 'lfm2-int4'):
    """Return a copy of a fixture, which a test may change."""
    target = tmp_path / 'models' / Path(name).name
    if not target.exists():
        shutil.copytree(folder(name), target)
    return find_model(target)


def stamps(entry: Path) -> dict[str, int]:
    """Return when each file of an entry was written."""
    return {p.name: p.stat().st_mtime_ns for p in entry.iterdir()}


def entries(path: Path) -> list[Path]:
    """Return the entries of a cache; nothing else may be left there but the lock."""
    found = sorted(path.iterdir())
    assert [p.name for p in found if not p.is_dir()] == ['.lock']
    assert not any(p.name.startswith('.') for p in found if p.is_dir())
    return [p for p in found if p.is_dir()]


@pytest.mark.parametrize('name', ['lfm2', 'lfm2-int4', 'lfm2-int8-state', 'lfm2-moe', 'phi',
                                  'lfm2-past-conv-fp16'])
def test_prepared_graphs_give_the_same_bits(name, tmp_path):
    source = model(tmp_path, name)
    entry = ready(source, tmp_path / 'cache', 3)
    if name == 'phi' and runtime_version() < (1, 25):
        pytest.skip('ONNX Runtime 1.23 cannot open what it wrote itself of a graph with an If')
    assert entry is not None
    found = sample(open_reference(entry / 'model.onnx', source, prepacked=True))
    assert np.array_equal(found, sample(open_reference(source.graph, source)))
    note = read_note(load(entry / 'model.onnx'))
    assert note == {} or note['edits']['head'] == APPLIED


@pytest.mark.parametrize('name', ['lfm2-int4', 'lfm2-int8', 'lfm2'])
def test_weights_lie_where_kernels_can_read_them(name, tmp_path):
    entry = ready(model(tmp_path, name), tmp_path / 'cache')
    places = [int(e.value) if e.key == 'offset' else int(e.value.split('|')[1].split(';')[0])
              for t in load(entry / 'model.onnx').proto.initializer for e in t.external_data
              if e.key == 'offset' or e.key.startswith('prepacked')]
    assert len(places) > 10
    assert not any(place % 64 for place in places)


def test_an_entry_is_made_once_and_used_again(tmp_path, caplog):
    entry = ready(model(tmp_path), tmp_path / 'cache')
    before = stamps(entry)
    assert {'model.onnx', 'model.onnx.data', MANIFEST} == set(before)
    assert ready(model(tmp_path), tmp_path / 'cache') == entry
    assert stamps(entry) == before
    assert entries(tmp_path / 'cache') == [entry]
    assert not caplog.records


def test_graphs_of_a_vision_model_are_prepared_too(tmp_path):
    source = find_model('demo')
    entry = ready(source, tmp_path / 'cache')
    assert (entry / 'vision.onnx').exists() and (entry / 'embedding.onnx').exists()
    embedded = open_reference(entry / 'model.onnx', source, prepacked=True)
    assert np.array_equal(sample(embedded), sample(open_reference(source.graph, source)))


def _truncate(entry: Path) -> None:
    data = entry / 'model.onnx.data'
    data.write_bytes(data.read_bytes()[:-4096])


def _flip(entry: Path) -> None:
    data = entry / 'model.onnx.data'
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)


@pytest.mark.parametrize('spoil', [
    _truncate, _flip, lambda e: (e / 'model.onnx').unlink(),
    lambda e: (e / MANIFEST).write_text('{'), lambda e: (e / MANIFEST).unlink(),
    lambda e: (e / 'model.onnx.data').write_bytes(b'')],
    ids=['cut', 'flipped', 'graph lost', 'manifest damaged', 'manifest lost', 'weights empty'])
def test_a_damaged_entry_is_made_again_and_said_once(spoil, tmp_path, caplog):
    source = model(tmp_path)
    entry = ready(source, tmp_path / 'cache')
    spoil(entry)
    assert ready(source, tmp_path / 'cache') == entry
    assert [r.levelname for r in caplog.records] == ['INFO']
    assert 'damaged' in caplog.text
    assert ready(source, tmp_path / 'cache') == entry
    assert len(caplog.records) == 1
    sample(open_reference(entry / 'model.onnx', source, prepacked=True))


def test_a_cache_that_cannot_be_written_is_a_warning_and_no_more(tmp_path, caplog):
    (tmp_path / 'file').write_text('')
    assert ready(model(tmp_path), tmp_path / 'file' / 'cache') is None
    assert [r.levelname for r in caplog.records] == ['WARNING']
    assert 'another' in caplog.text


def test_a_full_disk_is_a_warning_and_leaves_nothing_behind(tmp_path, caplog, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(cache.shutil, 'disk_usage', lambda path: usage)
    assert ready(model(tmp_path), tmp_path / 'cache') is None
    assert [r.levelname for r in caplog.records] == ['WARNING']
    assert entries(tmp_path / 'cache') == []


def test_a_disk_that_fills_while_writing_is_a_warning_and_leaves_nothing(tmp_path, caplog,
                                                                         monkeypatch):
    def fail(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(making, 'write_manifest', fail)
    assert ready(model(tmp_path), tmp_path / 'cache') is None
    assert 'No space left' in caplog.text
    assert entries(tmp_path / 'cache') == []


def test_every_model_and_number_of_rows_has_an_entry_of_its_own(tmp_path):
    found = {ready(model(tmp_path, name), tmp_path / 'cache', slots)
             for name, slots in (('lfm2', 4), ('lfm2', 2), ('lfm2-int4', 4))}
    assert sorted(found) == entries(tmp_path / 'cache')
    assert len(found) == 3


def test_a_model_that_has_changed_takes_the_place_of_the_old_one(tmp_path):
    source = model(tmp_path)
    old = ready(source, tmp_path / 'cache')
    tokenizer = source.root / 'tokenizer.json'
    tokenizer.write_text(tokenizer.read_text() + ' ')
    new = ready(find_model(source.root), tmp_path / 'cache')
    assert new != old
    assert entries(tmp_path / 'cache') == [new]


@pytest.mark.parametrize('part', ['onnxruntime', 'cpu'])
def test_another_machine_or_runtime_makes_it_anew(part, tmp_path, monkeypatch):
    old = ready(model(tmp_path), tmp_path / 'cache')
    now = cache.machine()
    monkeypatch.setattr(cache, 'machine', lambda: {**now, part: 'other'})
    new = ready(model(tmp_path), tmp_path / 'cache')
    assert new != old
    assert entries(tmp_path / 'cache') == [new]


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / 'cache' / '.building-abc'
    left.mkdir(parents=True)
    (left / 'model.onnx').write_text('half')
    ready(model(tmp_path), tmp_path / 'cache')
    assert not left.exists()


def test_a_graph_that_cannot_be_prepared_is_not_tried_at_every_start(tmp_path, caplog,
                                                                     monkeypatch):
    source = find_model(folder('difficult/lfm2-fp16-gpu'))
    assert ready(source, tmp_path / 'cache') is None
    monkeypatch.setattr(making, 'make_entry', None)
    assert ready(source, tmp_path / 'cache') is None
    assert [r.levelname for r in caplog.records] == ['INFO', 'INFO']


def test_a_graph_that_is_no_longer_the_same_is_not_used(tmp_path, caplog, monkeypatch):
    def spoil(graph, slots):
        for attribute in graph.of_type('GroupQueryAttention')[0].attribute:
            if attribute.name == 'scale':
                attribute.f *= 2
        return {}
    monkeypatch.setattr(making, 'edit_losslessly', spoil)
    assert ready(model(tmp_path, 'qwen3'), tmp_path / 'cache') is None
    assert 'other results' in caplog.text


def _use(path: str, store: str, notes: str) -> str:
    make = making.make_entry

    def noted(*arguments):
        with open(notes, 'a') as stream:
            stream.write('made\n')
        make(*arguments)
    making.make_entry = noted
    return str(ready(find_model(path), Path(store)))


def test_processes_that_start_at_once_share_one_entry(tmp_path):
    root = str(model(tmp_path).root)
    context = multiprocessing.get_context('spawn')
    with context.Pool(3) as pool:
        found = pool.starmap(
            _use, [(root, str(tmp_path / 'cache'), str(tmp_path / 'notes'))] * 3, chunksize=1)
    assert len(set(found)) == 1
    assert entries(tmp_path / 'cache') == [Path(found[0])]
    assert (tmp_path / 'notes').read_text() == 'made\n'


def test_links_of_a_hub_are_followed(tmp_path):
    (tmp_path / 'snapshot').mkdir()
    (tmp_path / 'blobs').mkdir()
    for number, file in enumerate(sorted(folder('lfm2-int4').iterdir())):
        shutil.copyfile(file, tmp_path / 'blobs' / str(number))
        (tmp_path / 'snapshot' / file.name).symlink_to(f'../blobs/{number}')
    source = find_model(tmp_path / 'snapshot')
    entry = ready(source, tmp_path / 'cache')
    assert entry is not None
    assert not any(p.is_symlink() for p in entry.iterdir())


@pytest.mark.skipif(runtime_version() >= (1, 29), reason='this ONNX Runtime opens all fixtures')
@pytest.mark.parametrize('name', ['lfm2', 'lfm2-int4', 'lfm2-moe', 'vision/lfm2-vl'])
def test_a_graph_for_a_newer_runtime_is_prepared_for_this_one(name, tmp_path):
    entry = ready(find_model(MODELS / name), tmp_path / 'cache')
    assert entry is not None
    assert read_note(load(entry / 'model.onnx')).get('edits', {}).get('portable', APPLIED) \
        == APPLIED
