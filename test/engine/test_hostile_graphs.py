# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs that would crash ONNX Runtime, hang it or lead it elsewhere are refused before it."""
import os
from pathlib import Path
import shutil

from hostile_support import open_all
from hostile_support import run
from lfm_ros.engine.files.folder import DEMO_FOLDER
from lfm_ros.engine.files.graph_check import check_graph
from lfm_ros.engine.files.graph_check import external_files
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.opening_limit import HANGS
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.graph import load
import onnx
from onnx import helper
from onnx import TensorProto
import pytest
from support import assert_one_line
from support import folder
from support import lfm
from support import MODELS

import hostile_graphs as hostile  # noqa: I100

OK = None
# what is made, and with which code it is refused; OK: by ONNX Runtime, or not at all
GRAPHS = {
    '2^62 elements': (hostile.tensor(1 << 62), 'MODEL_DAMAGED'),
    '2^64 elements': (hostile.tensor(1 << 32, 1 << 32, 4), 'MODEL_DAMAGED'),
    'a negative size': (hostile.tensor(-1), 'MODEL_DAMAGED'),
    'two negative sizes': (hostile.tensor(-2, -2), 'MODEL_DAMAGED'),
    'graphs 20 deep': (hostile.nested(20), 'MODEL_FOREIGN'),
    'graphs 20,000 deep': (hostile.nested(20_000), 'MODEL_DAMAGED'),
    'a million nodes': (hostile.chain(1_000_000), 'MODEL_DAMAGED'),
    'three million fields': (hostile.fields(3_000_000), 'MODEL_DAMAGED'),
    'groups in groups': (hostile.groups(200_000), 'MODEL_DAMAGED'),
    'a function that calls itself': (hostile.functions([['F0']]), 'MODEL_FOREIGN'),
    'two that call each other': (hostile.functions([['F1'], ['F0']]), 'MODEL_FOREIGN'),
    'ten calls ten calls ten': (hostile.functions(
        [[f'F{i + 1}'] * 10 for i in range(9)] + [['Neg'] * 10]), 'MODEL_FOREIGN'),
    'a chain of 8,000 functions': (hostile.functions(
        [[f'F{i + 1}'] for i in range(8000)] + [['Neg']]), 'MODEL_FOREIGN'),
    'a sparse tensor out of bounds': (hostile.sparse(10, 1 << 40), 'MODEL_FOREIGN'),
    'a sparse constant out of bounds': (hostile.sparse_constant(10, 1 << 40), 'MODEL_FOREIGN'),
    'a name of three million letters': (hostile.operator('A' * 3_000_000), 'MODEL_DAMAGED'),
    'a circle': (hostile.circle(), OK),
    'two inputs of one name': (hostile.twice(), OK),
    'an operator with escapes': (hostile.operator('\x1b[31mFoo\n'), OK),
    'an input with escapes': (hostile.named_input('in\x1b[31m\n' + 'B' * 3_000_000), OK),
    'an input that is not UTF-8': (hostile.not_utf8(), OK),
    'a layer of 5,000 digits': (hostile.named_input(f'past_conv.{"9" * 5000}'), OK),
    'a constant of 2^36 elements': (hostile.constant_of_shape(1 << 36), OK),
    'strings as weights': (hostile.strings(), OK),
}


def put(target: Path, content: bytes) -> Path:
    """Write a model folder with this graph."""
    shutil.copytree(folder('lfm2-past-conv'), target)
    (target / 'model.onnx').write_bytes(content)
    return target


def test_hostile_graphs_are_refused_and_never_crash_or_hang(tmp_path):
    targets = [put(tmp_path / str(n), make()) for n, (make, _) in enumerate(GRAPHS.values())]
    lines = open_all(targets)
    for name, line, (_, code) in zip(GRAPHS, lines, GRAPHS.values()):
        assert line != 'OPEN', name
        assert code is OK or line.startswith(code), (name, line)


def test_the_check_reads_all_graphs_of_the_field():
    for graph in [*MODELS.glob('**/*.onnx'), *DEMO_FOLDER.glob('*.onnx')]:
        named = {e.value for t in hostile.tensors(onnx.load(graph, load_external_data=False))
                 for e in t.external_data if e.key == 'location'}
        assert {p.name for p in check_graph(graph)} == named
        assert external_files(graph) == check_graph(graph)


def test_a_graph_of_two_gigabytes_is_checked_without_reading_its_weights(tmp_path):
    graph = tmp_path / 'model.onnx'
    hostile.write_large(graph, 2_000_000_000)
    assert graph.stat().st_blocks * 512 < 1 << 20, 'the file has a hole in place of its weights'
    before = hostile.peak_bytes()
    assert check_graph(graph) == []
    assert hostile.peak_bytes() - before < 16 << 20


# how a graph refers to its weights, what lies there, the code and a word of the sentence
PLACES = {
    'absolute': ('/dev/zero', None, 'MODEL_FOREIGN', 'outside'),
    'above': ('../data', None, 'MODEL_FOREIGN', 'outside'),
    'above on the way': ('a/../../data', None, 'MODEL_FOREIGN', 'outside'),
    'above with 200 bytes': ('x' * 200 + '/../../data', None, 'MODEL_FOREIGN', 'outside'),
    'in the memory of the process': ('*/_ORT_MEM_ADDR_/*', None, 'MODEL_FOREIGN', 'outside'),
    'nowhere': ('', None, 'WEIGHTS_MISSING', 'copy'),
    'a zero byte': ('a\0b', None, 'MODEL_FOREIGN', 'outside'),
    'a name of 300 bytes': ('n' * 300, None, 'WEIGHTS_MISSING', 'copy'),
    'missing': ('gone', None, 'WEIGHTS_MISSING', 'gone'),
    'a pipe': ('data', os.mkfifo, 'MODEL_DAMAGED', 'regular'),
    'a folder': ('data', os.mkdir, 'MODEL_DAMAGED', 'regular'),
    'a link to a device': ('data', lambda p: p.symlink_to('/dev/zero'), 'MODEL_FOREIGN', ''),
    'a link to another folder': ('data', lambda p: hostile.link_out(p), 'MODEL_FOREIGN', ''),
    'a link to itself': ('data', lambda p: p.symlink_to('data'), 'WEIGHTS_MISSING', 'copy'),
    'a file that is too short': ('data', lambda p: p.write_bytes(bytes(4095)),
                                 'WEIGHTS_MISSING', 'shorter'),
}


@pytest.mark.parametrize('tensor', hostile.WHERE)
@pytest.mark.parametrize('place', PLACES)
def test_weights_are_looked_for_in_the_folder_of_the_model_only(place, tensor, tmp_path):
    location, make, code, word = PLACES[place]
    target = tmp_path / 'm'
    target.mkdir()
    graph = target / 'model.onnx'
    graph.write_bytes(hostile.external(tensor, location))
    if make:
        make(target / location)
    with pytest.raises(LfmError) as caught:
        check_graph(graph)
    assert caught.value.code == ErrorCode[code], caught.value.message
    assert_one_line(caught.value.message, word)
    with pytest.raises(LfmError) as again:  # what prepares graphs looks at them likewise
        load(graph)
    assert again.value.code == caught.value.code


@pytest.mark.parametrize('offset, length', [('-4096', '4096'), ('9' * 19, '4096'), ('x', '1'),
                                            ('9' * 5000, '1'), ('4096', '1'), ('٣', '1')])
def test_weights_that_lie_outside_of_their_file_are_refused(offset, length, tmp_path):
    (tmp_path / 'data').write_bytes(bytes(4096))
    graph = tmp_path / 'model.onnx'
    graph.write_bytes(hostile.external('initializer', 'data', offset, length))
    with pytest.raises(LfmError) as caught:
        check_graph(graph)
    assert caught.value.code in (ErrorCode.MODEL_DAMAGED, ErrorCode.WEIGHTS_MISSING)


def test_the_order_of_the_fields_does_not_hide_a_file(tmp_path):
    for content in hostile.other_orders('../data'):
        (tmp_path / 'model.onnx').write_bytes(content)
        with pytest.raises(LfmError, match='outside of its folder'):
            check_graph(tmp_path / 'model.onnx')


def test_a_pipe_as_weights_is_refused_before_the_model_is_opened(tmp_path):
    target = tmp_path / 'm'
    shutil.copytree(folder('lfm2-past-conv'), target)
    for path in target.iterdir():
        if path.suffix not in ('.onnx', '.json'):
            path.unlink()
    name = 'weights.json'  # of which the folder has several
    model = onnx.load(target / 'model.onnx', load_external_data=False)
    for tensor in hostile.tensors(model):
        for entry in tensor.external_data:
            if entry.key == 'location':
                entry.value = name
    (target / 'model.onnx').write_bytes(model.SerializeToString())
    os.mkfifo(target / name)
    assert open_all([target])[0].startswith('MODEL_DAMAGED')


def test_a_snapshot_in_the_cache_of_a_hub_opens_with_its_links(tmp_path):
    blobs, snapshot = tmp_path / 'models--a--m' / 'blobs', tmp_path / 'models--a--m' / 'snapshots'
    blobs.mkdir(parents=True)
    (snapshot / 'main').mkdir(parents=True)
    for number, file in enumerate(sorted(folder('lfm2-past-conv').iterdir())):
        shutil.copyfile(file, blobs / f'{number:064}')
        (snapshot / 'main' / file.name).symlink_to(f'../../blobs/{number:064}')
    model = Model(snapshot / 'main', ModelOptions(threads=1))
    assert model.name == 'm'
    assert any(p.name == 'model.onnx.data' for p in model.folder.files)


def test_a_model_that_does_not_open_ends_the_process_with_a_sentence(tmp_path):
    target = put(tmp_path / 'm', hostile.endless_folding())
    done = run([target], before='from lfm_ros.engine.runtime import opening_limit\n'
               'opening_limit.OPEN_SECONDS, opening_limit.GRACE = 2.0, 1.0')
    assert done.returncode == HANGS, (done.returncode, done.stderr[-2000:])
    assert_one_line(done.stderr, str(target), 'did not open within 2 s')


def test_a_loop_without_end_in_the_first_run_is_ended_and_refused(tmp_path):
    target = tmp_path / 'm'
    shutil.copytree(folder('lfm2-past-conv'), target)
    hostile.loop_in(target / 'model.onnx')
    line, = open_all([target], before='from lfm_ros.engine.runtime import opening_limit\n'
                     'opening_limit.OPEN_SECONDS = 3.0')
    assert line.startswith('MODEL_HUNG'), line


def test_lfm_refuses_a_hostile_graph_with_one_line(tmp_path):
    done = lfm('inspect', put(tmp_path / 'm', hostile.functions([['F0']])()))
    assert done.returncode == 2
    assert_one_line(done.stderr, 'lfm inspect: ', 'model.onnx')


def test_helpers_make_graphs_that_are_graphs():
    """Else they would be refused for another reason than the one that is meant."""
    graph = helper.make_graph([], 'g', [], [])
    assert onnx.load_from_string(hostile.tensor(1)()).graph.initializer[0].dims == [1]
    assert onnx.load_from_string(hostile.functions([['Neg']])()).functions[0].name == 'F0'
    assert onnx.load_from_string(hostile.nested(2)()).graph.node[0].op_type == 'If'
    assert TensorProto.EXTERNAL == 1 and graph.name == 'g'
