# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`lfm bench`: the table of one model, of two side by side, and what it refuses."""
import json
import os
from pathlib import Path
import sys

from lfm_ros.cli.bench.child import Child
from lfm_ros.cli.bench.plot import Plot
from lfm_ros.cli.main import main
from lfm_ros.errors import ErrorCode
import pytest
from support import assert_one_line
from support import folder
from support import lfm

QUICK = ('--rounds', '1', '--prefill', '32', '--decode', '4', '--threads', '1')
MEASURED = {
    'model', 'history', 'history_seconds', 'rss_bytes', 'private_bytes', 'peak_rss_bytes',
    'state_bytes', 'turn_seconds', 'prefill_tokens_per_second', 'decode_tokens_per_second',
    'turn_ratio', 'rss_ratio', 'decode_ratio', 'rss_bytes_per_token'}


@pytest.fixture(scope='module')
def demo():
    """Measure the embedded model, to the end of its context."""
    return lfm('bench', 'demo', *QUICK, '--pretend', '--json')


@pytest.fixture(scope='module')
def pair():
    """Measure two models whose contexts have different lengths."""
    return lfm('bench', folder(), 'demo', *QUICK, '--contexts', '0,128,512,1024', '--json')


@pytest.fixture
def children(monkeypatch):
    """Return the processes that measured, as they are begun."""
    found = []
    begin = Child.__init__

    def begun(self, arguments):
        found.append(self)
        begin(self, arguments)

    monkeypatch.setattr(Child, '__init__', begun)
    return found


def test_json_has_the_machine_the_settings_the_model_and_its_rows(demo):
    assert demo.returncode == 0, demo.stderr
    result = json.loads(demo.stdout)
    assert demo.stdout.count('\n') == 1
    assert set(result) == {'machine', 'settings', 'models', 'rows'}
    assert set(result['machine']) == {
        'cpu', 'board', 'cores', 'threads', 'ram_bytes', 'load_average', 'system', 'python',
        'onnxruntime', 'lfm_ros'}
    assert result['machine']['cpu'] and result['machine']['lfm_ros']
    assert (result['machine']['threads'], result['settings']['rounds']) == (1, 1)
    assert (result['settings']['pretend'], result['settings']['turn']) == (True, 20)
    model, = result['models']
    assert set(model) == {
        'model', 'graph', 'dialect', 'context_length', 'state_bytes_fixed', 'state_bytes_token',
        'appends_in_place', 'reads_in_chunks', 'load_seconds', 'rss_bytes', 'private_bytes',
        'failure'}
    assert 0 < model['private_bytes'] <= model['rss_bytes'] < result['machine']['ram_bytes']
    for row in result['rows']:
        assert set(row) == MEASURED
        assert all(value > 0 for key, value in row.items()
                   if key.endswith(('_second', 'turn_seconds', '_bytes', '_ratio')))


def test_the_end_of_the_context_is_measured_and_what_is_beyond_is_left_out(demo):
    assert [row['history'] for row in json.loads(demo.stdout)['rows']] == [0, 512, 4096 - 32]
    assert_one_line(demo.stderr, '4096 is measured at 4064', 'left out 32768')


def test_memory_behind_a_pretended_history_is_really_taken(demo):
    result = json.loads(demo.stdout)
    per_token, last = result['models'][0]['state_bytes_token'], result['rows'][-1]
    assert 0.9 * per_token < last['rss_bytes_per_token'] < 2 * per_token
    assert last['state_bytes'] >= per_token * last['history']


def test_ratios_are_to_no_history(demo):
    first, *_, last = json.loads(demo.stdout)['rows']
    assert first['turn_ratio'] == first['rss_ratio'] == first['decode_ratio'] == 1
    assert last['turn_ratio'] == last['turn_seconds'] / first['turn_seconds']
    assert last['rss_ratio'] == last['rss_bytes'] / first['rss_bytes']


def test_two_models_are_measured_at_the_same_places_and_divided(pair):
    assert pair.returncode == 0, pair.stderr
    result = json.loads(pair.stdout)
    assert [m['model'] for m in result['models']] == ['lfm2-past-conv', 'demo']
    assert [(row['model'], row['history']) for row in result['rows']] == [
        (0, 0), (0, 128), (0, 480), (1, 0), (1, 128), (1, 480), (1, 1024)]
    assert_one_line(pair.stderr, 'left out 1024', '512 tokens', 'lfm2-past-conv')
    assert [row['history'] for row in result['ratios']['rows']] == [0, 128, 480]
    first, second, *_ = result['models']
    assert result['ratios']['state_bytes_token'] \
        == first['state_bytes_token'] / second['state_bytes_token']
    assert result['ratios']['rows'][1]['turn_seconds'] \
        == result['rows'][1]['turn_seconds'] / result['rows'][4]['turn_seconds']


def test_the_table_of_one_model_is_for_people():
    done = lfm('bench', folder(), *QUICK, '--contexts', '0,128')
    assert (done.returncode, done.stderr) == (0, '')
    for words in ('ONNX Runtime', 'load average', 'random tokens, read', '256 per token',
                  'decode tok/s', 'private MB', 'at 128 tokens, compared to none: RSS x 1.'):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 160


def test_the_table_of_two_models_has_what_one_of_them_lacks_as_a_dash():
    done = lfm('bench', folder(), folder('llama'), *QUICK, '--contexts', '16')
    assert (done.returncode, done.stderr) == (0, '')
    lines = done.stdout.splitlines()
    fixed, = (line.split() for line in lines if line.startswith('state bytes, fixed'))
    assert fixed[-3:] == ['1,152', '0', '-']
    compared, = (line.split() for line in lines if line.startswith('turn / at 0'))
    assert compared[-4:] == ['16', '-', '-', '-']


@pytest.mark.parametrize('suffix, start', [('png', b'\x89PNG\r\n\x1a\n'), ('svg', b'<?xml')])
def test_the_plot_is_a_real_picture(suffix, start, tmp_path, capsys):
    file = tmp_path / f'curves.{suffix}'
    assert main(['bench', str(folder()), *QUICK, '--contexts', '0,64', '--plot', str(file)]) == 0
    assert capsys.readouterr().err == ''
    assert file.read_bytes().startswith(start) and file.stat().st_size > 5000


def measured(histories, models):
    """Return a result of `lfm bench` whose curves rise, fall and rise."""
    rows = [{'model': which, 'history': history, 'rss_bytes': 2e8 * (1 + which) + 12e3 * history,
             'decode_tokens_per_second': 45 / (1 + which) / (1 + history / 2e4),
             'turn_seconds': 0.05 * (1 + which) * (1 + history / 9e3)}
            for which in range(models) for history in histories]
    return {'machine': {'board': '', 'cpu': 'a CPU', 'threads': 2, 'onnxruntime': '1.31.1'},
            'models': [{'model': f'LFM2-350M-ONNX number {which}', 'graph': 'model_q4.onnx'}
                       for which in range(models)], 'rows': rows}


@pytest.mark.parametrize('models', [1, 2])
@pytest.mark.parametrize('histories', [(0,), (0, 512), (0, 512, 4096, 16384, 32768)], ids=len)
def test_nothing_hides_a_point_of_a_curve(histories, models, tmp_path):
    plot = Plot(str(tmp_path / 'curves.png'))
    assert plot.draw(measured(histories, models)) == ''
    figure = plot._figure
    *panels, below = figure.axes
    legend = below.get_legend().get_window_extent()
    assert len(below.get_legend().get_texts()) == models
    for axes in panels:
        inside, shown = axes.get_window_extent(), 0
        for line in axes.get_lines():
            for x, y in axes.transData.transform(line.get_xydata()):
                assert inside.x0 < x < inside.x1 and inside.y0 <= y < inside.y1 - 5
                shown += 1
        assert shown == models * len(histories)
        assert not legend.overlaps(axes.get_tightbbox())
        ticks = [text for text in axes.get_xticklabels() if text.get_text()
                 and inside.x0 <= text.get_window_extent().x1 and
                 text.get_window_extent().x0 <= inside.x1]
        boxes = [text.get_window_extent() for text in ticks]
        assert ticks and not any(a.x1 > b.x0 for a, b in zip(boxes, boxes[1:]))
        assert all(float(text.get_text()) % 1 == 0 for text in ticks), 'tokens are whole'


def test_a_plot_that_cannot_be_written_in_the_end_costs_no_figure(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('matplotlib.figure.Figure.savefig', full)
    assert main(['bench', str(folder()), *QUICK, '--contexts', '0', '--json', '--plot',
                 str(tmp_path / 'x.png')]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)['rows']
    assert_one_line(printed.err, 'x.png cannot be written', 'No space')


def test_without_matplotlib_one_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    for name in ('matplotlib', 'matplotlib.figure'):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(['bench', str(folder()), '--plot', str(tmp_path / 'out.png')]) == 2
    assert_one_line(capsys.readouterr().err, 'pip install matplotlib')


@pytest.mark.parametrize('name', ['', 'out', 'out.txt', '/nowhere/out.png', 'a\0.png'])
def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_measured(
        name, children, capsys):
    assert main(['bench', str(folder()), '--plot', name]) == 2
    assert_one_line(capsys.readouterr().err, '--plot')
    assert not children


@pytest.mark.parametrize('arguments', [
    ('--contexts', ''), ('--contexts', '1,'), ('--contexts', '1e3'), ('--contexts', '0,-1'),
    ('--prefill', '0'), ('--decode', '0'), ('--context', '-1'), ('--rounds', 'many')])
def test_a_wrong_size_is_refused_before_anything_is_opened(arguments, children, capsys):
    status = main(['bench', str(folder()), *arguments])
    printed = capsys.readouterr()
    assert (status, printed.out, children) == (2, '', [])
    assert_one_line(printed.err, arguments[0])


@pytest.mark.parametrize('arguments, words', [
    (('MODEL', '/nowhere'), '/nowhere'), (('MODEL', '--context', '5'), '5 tokens'),
    (('MODEL', '--prefill', '513'), '512 tokens'), (('MODEL', '--variant', 'q4'), 'q4'),
    (('MODEL', '--context', '64', '--contexts', '65'), '64 tokens')])
def test_what_cannot_be_measured_is_one_sentence_and_no_process_stays(
        arguments, words, children, capsys):
    arguments = [str(folder()) if a == 'MODEL' else a for a in arguments]
    assert main(['bench', *arguments, '--json']) == 2
    printed = capsys.readouterr()
    assert_one_line(printed.err, words)
    assert json.loads(printed.out)['error_code'] in (ErrorCode.INVALID_VALUE,
                                                     ErrorCode.MODEL_NOT_FOUND)
    assert all(child._process.poll() is not None for child in children)


def test_ctrl_c_is_one_line_and_no_process_stays(children, monkeypatch, capsys):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Child, 'round', interrupted)
    assert main(['bench', str(folder()), *QUICK]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == 'lfm bench: interrupted'
    assert [child._process.poll() for child in children] == [-9]


def test_ctrl_c_of_a_terminal_does_not_reach_the_process_that_measures(children, monkeypatch):
    groups = []
    end = Child.close
    monkeypatch.setattr(Child, 'close', lambda self: (
        groups.append(os.getpgid(self._process.pid)), end(self)))
    main(['bench', str(folder()), *QUICK, '--contexts', '0'])
    assert groups and os.getpgid(0) not in groups


def test_a_row_that_needs_too_much_memory_costs_no_other_row(monkeypatch, capsys):
    go_to = Child.go_to

    def killed(self, history):
        if history:
            self._process.kill()  # as the kernel does
        go_to(self, history)

    monkeypatch.setattr(Child, 'go_to', killed)
    assert main(['bench', str(folder()), *QUICK, '--contexts', '0,64', '--json']) == 1
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert [row['history'] for row in result['rows']] == [0]
    assert 'signal 9' in result['models'][0]['failure']
    assert_one_line(printed.err, 'signal 9', 'lower --contexts')


def test_a_folder_with_a_module_of_a_known_name_disturbs_nothing(tmp_path, monkeypatch, capsys):
    Path(tmp_path, 'json.py').write_text('raise SystemExit("the wrong module")')
    monkeypatch.chdir(tmp_path)
    assert main(['bench', str(folder()), *QUICK, '--contexts', '0']) == 0
    assert 'decode tok/s' in capsys.readouterr().out
