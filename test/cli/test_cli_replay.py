# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`lfm replay`: recorded missions are asked again, compared, stopped and gone on with."""
import json
import os
from pathlib import Path
import shutil
import signal
import stat
import subprocess
import sys

import pytest

pytest.importorskip('mcap_ros2', reason='recordings need mcap-ros2-support')

from bag_support import BagWriter  # noqa: E402, I100
from bag_support import COMPRESSED_IMAGE  # noqa: E402
from bag_support import FORMATS  # noqa: E402
from bag_support import IMAGE  # noqa: E402
from bag_support import OBSERVATION  # noqa: E402
from bag_support import QUERY  # noqa: E402
from bag_support import RESPONSE  # noqa: E402
from bag_support import STRING  # noqa: E402
from lfm_ros.cli import main as command_line  # noqa: E402
from lfm_ros.cli.main import main  # noqa: E402
from lfm_ros.cli.replay import command as replay_command  # noqa: E402
from lfm_ros.engine.vision.image import encode  # noqa: E402
from lfm_ros.errors import ErrorCode  # noqa: E402
from lfm_ros.replay.result_file import ResultFile  # noqa: E402
from lfm_ros.serving.mission_store import MissionStore  # noqa: E402
from mcap.writer import CompressionType  # noqa: E402
from pictures import picture  # noqa: E402
from process_tree import descendants  # noqa: E402
from support import assert_one_line  # noqa: E402
from support import environment  # noqa: E402
from support import folder  # noqa: E402
from support import lfm  # noqa: E402
from waiting import WAIT  # noqa: E402

DEMO = ('demo', '--threads', '1')
PLACES = ('dock', 'door', 'kitchen', 'lab', 'lift', 'gate')
TOOLS = [{'name': 'go_to', 'description': 'Drive to a place.', 'parameters': json.dumps(
    {'type': 'object', 'properties': {'place': {'type': 'string'}}, 'required': ['place']})}]
SCHEMA = json.dumps({'type': 'object', 'properties': {'open': {'type': 'boolean'}},
                     'required': ['open'], 'additionalProperties': False})


def png(seed):
    return {'format': 'png', 'data': list(encode(picture(48, 64, seed)))}


def messages():
    """Return what a robot heard: two missions, with images, tools and forms."""
    found = []
    for number, place in enumerate(PLACES):
        mission = 'ab'[number % 2]
        found += [
            (OBSERVATION, {'mission_id': mission,
                           'text': f'The {place} is at waypoint {number}.'}),
            (QUERY, {'mission_id': mission, 'request_id': f'{number}', 'max_tokens': 24,
                     'prompt': f'Where is the {place}?'})]
    found += [
        (STRING, {'data': 'hello'}),
        (QUERY, {'mission_id': 'a', 'request_id': 'see', 'prompt': 'What do you see?',
                 'compressed_images': [png(1)], 'max_tokens': 12}),
        (QUERY, {'mission_id': 'b', 'request_id': 'form', 'prompt': 'Is the door open?',
                 'response_format': {'json_schema': SCHEMA}}),
        (QUERY, {'mission_id': 'c', 'request_id': 'tool', 'prompt': 'Go to the dock.',
                 'tools': TOOLS, 'tool_choice': 'required'}),
        (QUERY, {'mission_id': 'a', 'request_id': 'aside', 'prompt': 'Thank you.',
                 'aside': True}),
        (QUERY, {'mission_id': 'a', 'request_id': 'none', 'prompt': ' '})]
    return found


QUESTIONS = sum(kind != OBSERVATION for kind, _ in messages())


def write(path, answers=(), storage='mcap', change=lambda number, fields: fields,
          **options):
    """Write a bag; ``answers``: one for each question, as the lines of results have them."""
    left = iter(answers)
    with BagWriter(path, storage, **options) as bag:
        number = 0
        for kind, fields in messages():
            bag.write(kind, **fields)
            if kind != OBSERVATION and (line := next(left, None)):
                bag.write(RESPONSE, request_id=line['request_id'] or 'generated',
                          mission_id=line['mission_id'], **change(number, {
                              name: value for name, value in line['now'].items()
                              if name != 'valid_form'}))
                number += 1
    return path


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def answers_in(file):
    """Return the number and text of every result in a file."""
    return [(line['question'], line['now']['text'], line['now']['error_code'])
            for line in lines_of(file)]


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """Return the results of a bag without answers."""
    folder = tmp_path_factory.mktemp('first')
    assert main(['replay', str(write(folder / 'bag')), *DEMO, '--out', str(folder / 'out')]) == 1
    return lines_of(folder / 'out')


def replay(capsys, *arguments):
    """Run the command with --json; return its status, its summary, and what it says."""
    status = main(['replay', *map(str, arguments), '--json'])
    printed = capsys.readouterr()
    return status, json.loads(printed.out), printed.err


def counts(summary, bag=0):
    found = summary['bags'][bag]
    return {name: found[name] for name in ('equal', 'different', 'failed', 'new')}


def test_a_bag_without_answers_is_asked_and_has_none_to_compare_with(first):
    assert len(first) == QUESTIONS
    verdicts = [line['verdict'] for line in first]
    assert verdicts == ['new'] * (QUESTIONS - 1) + ['failed']
    assert first[-1]['now']['error_code'] == ErrorCode.EMPTY_PROMPT
    texts = [line['now']['text'] for line in first]
    assert texts[0] == 'The dock is at waypoint 0.', 'it knows the observation'
    by_id = {line['request_id']: line for line in first}
    assert by_id['see']['images'] == 1 and by_id['see']['now']['usage']['image_tokens'] > 0
    assert by_id['form']['now']['valid_form'] is True
    assert json.loads(by_id['form']['now']['text'])['open'] in (True, False)
    assert by_id['tool']['now']['tool_calls'][0]['name'] == 'go_to'


@pytest.mark.parametrize('storage', FORMATS)
def test_the_same_answers_are_equal(tmp_path, capsys, first, storage):
    bag = write(tmp_path / 'bag', first, storage)
    status, summary, said = replay(capsys, bag, *DEMO)
    assert (status, said) == (0, '')
    assert counts(summary) == {'equal': QUESTIONS, 'different': 0, 'failed': 0, 'new': 0}
    found = summary['bags'][0]
    assert (found['forms'], found['valid_forms'], found['images']) == (1, 1, 1)
    assert found['recorded']['tokens_per_second'] > 0 and found['now']['tokens_per_second'] > 0


CHANGES = {
    'text': lambda fields: {'text': 'No.'},
    'tool call': lambda fields: {'tool_calls': [{'name': 'go_to', 'arguments': '{}'}]},
    'error': lambda fields: {'error_code': 0, 'text': 'Yes.'}}


@pytest.mark.parametrize('what, number, verdict', [
    ('text', 0, 'different'), ('text', QUESTIONS - 3, 'different'),
    ('tool call', QUESTIONS - 3, 'different'), ('error', QUESTIONS - 1, 'failed')])
def test_another_answer_is_found_and_shown(tmp_path, capsys, first, what, number, verdict):
    bag = write(tmp_path / 'bag', first, change=lambda n, fields: {
        **fields, **(CHANGES[what](fields) if n == number else {})})
    assert main(['replay', str(bag), *DEMO, '--out', str(tmp_path / 'out')]) == 1
    printed = capsys.readouterr().out
    assert f'question {number} of bag' in printed and printed.count('recorded: ') == 1
    verdicts = [line['verdict'] for line in lines_of(tmp_path / 'out')]
    assert verdicts == ['equal'] * number + [verdict] + ['equal'] * (QUESTIONS - number - 1)


def test_the_order_of_arguments_of_a_tool_does_not_count(tmp_path, capsys, first):
    def reordered(number, fields):
        calls = [{**call, 'arguments': f' {call["arguments"]} '} for call in fields['tool_calls']]
        return {**fields, 'tool_calls': calls}

    status, summary, _ = replay(capsys, write(tmp_path / 'bag', first, change=reordered), *DEMO)
    assert (status, counts(summary)['equal']) == (0, QUESTIONS)


def test_what_failed_in_the_recording_does_not_change_its_mission(tmp_path, capsys, first):
    def lost(number, fields):
        """Return the first answer as one that came too late."""
        return {**fields, 'error_code': int(ErrorCode.TIMEOUT), 'text': ''} if number == 0 \
            else fields

    bag, out = write(tmp_path / 'bag', first, change=lost), tmp_path / 'out'
    replay(capsys, bag, *DEMO, '--out', out)
    line = lines_of(out)[0]
    assert (line['verdict'], line['now']['text']) == ('new', first[0]['now']['text'])
    later = next(line for line in lines_of(out)[1:] if line['mission_id'] == 'a')
    assert later['now']['usage']['cached_tokens'] < next(
        line for line in first[1:] if line['mission_id'] == 'a')['now']['usage']['cached_tokens']


def test_results_are_for_nobody_else(tmp_path, capsys, first):
    out = tmp_path / 'out'
    replay(capsys, write(tmp_path / 'bag', first), *DEMO, '--out', out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_each_bag_begins_without_missions_and_has_its_row(tmp_path, capsys, first):
    bags = [write(tmp_path / name, first) for name in ('one', 'two')]
    status, summary, _ = replay(capsys, *bags, *DEMO, '--out', tmp_path / 'out')
    assert status == 0
    assert [counts(summary, n)['equal'] for n in range(2)] == [QUESTIONS] * 2
    assert not (tmp_path / 'out.missions').exists()


@pytest.mark.parametrize('fails_at', range(0, QUESTIONS, 2))
def test_a_replay_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch, first, fails_at):
    bag, out, append, lost = write(tmp_path / 'bag', first), tmp_path / 'out', \
        ResultFile.append, []

    def stop_between_turn_and_result(self, fields):
        if len(self.lines) == fails_at:
            lost.append(fields)
            raise KeyboardInterrupt
        append(self, fields)

    with monkeypatch.context() as patch:
        patch.setattr(ResultFile, 'append', stop_between_turn_and_result)
        assert main(['replay', str(bag), *DEMO, '--out', str(out)]) == 1
    assert 'again to go on' in capsys.readouterr().err
    assert len(lines_of(out)) == fails_at and len(lost) == 1
    status, summary, _ = replay(capsys, bag, *DEMO, '--out', out)
    assert (status, counts(summary)['equal']) == (0, QUESTIONS)
    assert answers_in(out) == [(line['question'], line['now']['text'], line['now']['error_code'])
                               for line in first]


KILLED = """
import json
from lfm_ros.cli.main import main  # noqa: E402
from lfm_ros.replay.result_file import ResultFile  # noqa: E402
import os
import signal
import sys
append, when = ResultFile.append, sys.argv.pop(1)

def killed(self, fields):
    if len(self.lines) == 5:
        if when == 'after':
            append(self, fields)
        elif when == 'within':
            self._file.write(json.dumps({'run': self._run, **fields}).encode()[:200])
            self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, fields)

ResultFile.append = killed
sys.exit(main())
"""


@pytest.mark.parametrize('when', ['before', 'within', 'after'])
@pytest.mark.parametrize('kept', [True, False])
def test_a_replay_that_was_killed_asks_each_question_once(tmp_path, capsys, first, when, kept):
    bag, out = write(tmp_path / 'bag', first), tmp_path / 'out'
    killed = subprocess.run(
        [sys.executable, '-c', KILLED, when, 'replay', bag, *DEMO, '--out', out],
        env=environment(), capture_output=True, timeout=WAIT)
    assert killed.returncode == -signal.SIGKILL
    assert out.read_bytes().count(b'\n') == 5 + (when == 'after')
    if not kept:  # then its missions are made anew, and nothing is reported twice
        shutil.rmtree(tmp_path / 'out.missions')
    status, summary, _ = replay(capsys, bag, *DEMO, '--out', out)
    assert (status, counts(summary)['equal']) == (0, QUESTIONS)
    assert answers_in(out) == [(line['question'], line['now']['text'], line['now']['error_code'])
                               for line in first]


def test_what_is_complete_is_not_asked_again(tmp_path, capsys, monkeypatch, first):
    bag, out = write(tmp_path / 'bag', first), tmp_path / 'out'
    once = replay(capsys, bag, *DEMO, '--out', out)
    content = out.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(MissionStore, '__init__', None)  # nothing can be asked
        assert replay(capsys, bag, *DEMO, '--out', out) == once
    assert out.read_bytes() == content


@pytest.mark.parametrize('content, words', [
    (None, 'another model or other options'), (b'notes', "no file of 'lfm replay'"),
    (b'notes\n', 'line 1'), (b'{"a": 1}\n', 'line 1'), (b'[]\n', 'line 1')])
def test_a_file_that_is_not_of_this_replay_stays_as_it_is(tmp_path, capsys, first, content,
                                                          words):
    bag, out = write(tmp_path / 'bag', first), tmp_path / 'out'
    if content is None:
        replay(capsys, bag, *DEMO, '--out', out, '--system', 'You are a cat.')
    else:
        out.write_bytes(content)
    before = out.read_bytes()
    status, told, said = replay(capsys, bag, *DEMO, '--out', out)
    assert status == 2 and told['error_code'] == ErrorCode.INVALID_VALUE
    assert_one_line(said, 'lfm replay: ', words, 'give another --out')
    assert out.read_bytes() == before


def test_two_replays_do_not_write_one_file(tmp_path, capsys, first):
    with ResultFile(tmp_path / 'out', 'run'):
        status, _, said = replay(capsys, write(tmp_path / 'bag', first), *DEMO,
                                 '--out', tmp_path / 'out')
    assert status == 2
    assert_one_line(said, 'another process')


def camera_bag(path, kind, storage='mcap', count=6):
    with BagWriter(path, storage) as bag:
        for number in range(count):
            pixels = picture(48, 64, number)
            bag.write(kind, '/cam', **(
                png(number) if kind == COMPRESSED_IMAGE else
                {'width': 64, 'height': 48, 'encoding': 'rgb8', 'step': 192,
                 'data': list(pixels.tobytes())}))
    return path


@pytest.mark.parametrize('storage', FORMATS)
@pytest.mark.parametrize('kind', [IMAGE, COMPRESSED_IMAGE])
def test_the_frames_of_any_camera_are_asked_about(tmp_path, capsys, kind, storage):
    bag, out = camera_bag(tmp_path / 'bag', kind, storage), tmp_path / 'out'
    (tmp_path / 'schema.json').write_text(SCHEMA)
    status, summary, said = replay(
        capsys, bag, *DEMO, '--topic', '/cam', '--every', 2, '--ask', 'Is the door open?',
        '--schema', tmp_path / 'schema.json', '--out', out)
    assert (status, said) == (0, '')
    found = summary['bags'][0]
    assert (found['questions'], found['images'], found['new']) == (3, 3, 3)
    assert (found['forms'], found['valid_forms']) == (3, 3)
    for line in lines_of(out):
        assert (line['topic'], line['prompt']) == ('/cam', 'Is the door open?')
        assert json.loads(line['now']['text'])['open'] in (True, False)
        assert line['now']['usage']['image_tokens'] > 0
    assert [line['time'] for line in lines_of(out)] == [
        lines_of(out)[0]['time'] + 2_000_000_000 * n for n in range(3)]


def test_frames_know_nothing_of_each_other(tmp_path, capsys):
    bag = camera_bag(tmp_path / 'bag', IMAGE)
    arguments = (*DEMO, '--topic', '/cam', '--ask', 'What do you see?')
    replay(capsys, bag, *arguments, '--out', tmp_path / 'all')
    replay(capsys, bag, *arguments, '--every', 5, '--out', tmp_path / 'some')
    every, some = answers_in(tmp_path / 'all'), answers_in(tmp_path / 'some')
    assert len({text for _, text, _ in every}) > 1
    assert [text for _, text, _ in some] == [every[0][1], every[5][1]]


def test_a_damaged_end_is_told_and_the_rest_is_asked(tmp_path, capsys, first):
    bag = write(tmp_path / 'bag', first, compression=CompressionType.NONE)
    file = next(bag.glob('*.mcap'))
    data = file.read_bytes()
    file.write_bytes(data[:data.index(b'What do you see?')])
    status, summary, said = replay(capsys, bag, *DEMO)
    assert_one_line(said, 'lfm replay: ', 'is damaged', 'read as far as it goes')
    before = len(PLACES) + 1
    assert (status, counts(summary)) == (
        0, {'equal': before, 'different': 0, 'failed': 0, 'new': 0})


def test_a_bag_without_questions_is_no_failure(tmp_path, capsys):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(OBSERVATION, text='The dock is here.')
    status, summary, said = replay(capsys, bag.path, *DEMO, '--out', tmp_path / 'out')
    assert (status, said, summary['bags'][0]['questions']) == (0, '', 0)
    assert main(['replay', str(bag.path), *DEMO]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ['bag', '0']


@pytest.mark.parametrize('arguments, words', [
    (('--ask', 'What?'), '--ask is given without --topic'),
    (('--every', '2'), '--every is given without --topic'),
    (('--schema', '{}'), '--schema is given without --topic'),
    (('--topic', '/cam'), '--topic is given without --ask'),
    (('--topic', '/cam', '--ask', 'What?', '--every', '-1'), '--every is -1'),
    (('--topic', '/cam', '--ask', 'What?', '--every', 'nan'), '--every is nan'),
    (('--topic', '/cam', '--ask', 'What?', '--node', '/lfm'), '--topic and --node'),
    (('--topic', '/cam', '--ask', 'What?'), 'no topic /cam'),
    (('--topic', '/cam', '--ask', 'What?', '--schema', '{'), '--schema'),
    (('--ray-workers', '2'), '--ray-workers is 2'),
    (('--node', '/nobody'), '/nobody'), (('--max-tokens', '0'), '--max-tokens'),
    (('--temperature', '-1'), '--temperature')])
def test_mistakes_are_answered_with_one_sentence(tmp_path, capsys, arguments, words):
    bag = write(tmp_path / 'bag')
    assert main(['replay', str(bag), 'demo', *arguments]) == 2
    printed = capsys.readouterr()
    assert_one_line(printed.err, 'lfm replay: ', words)
    assert printed.out == ''


@pytest.mark.parametrize('module, options, package', [
    ('mcap_ros2', (), 'mcap-ros2-support'), ('ray', ('--ray', 'local'), 'ray')])
def test_a_missing_library_is_named_with_what_installs_it(tmp_path, capsys, monkeypatch, module,
                                                          options, package):
    monkeypatch.setattr(replay_command, 'find_spec', lambda name: name != module or None)
    assert main(['replay', str(tmp_path), 'demo', *options]) == 2
    assert_one_line(capsys.readouterr().err, f'{package} is missing', 'pip install', package)


def is_worker(pid):
    return b'RemoteWorker' in Path(f'/proc/{pid}/cmdline').read_bytes()


def test_a_cluster_loses_nothing_when_a_worker_is_killed(tmp_path, capsys, monkeypatch, first):
    pytest.importorskip('ray', reason='ray is not installed (an extra of lfm replay --ray)')
    from lfm_ros.cli.replay.cluster import Cluster
    bags = [write(tmp_path / f'{number}', first) for number in range(3)]
    append, start, started, killed = ResultFile.append, Cluster._start, [], []

    def append_and_kill(self, fields):
        append(self, fields)
        if len(self.lines) == 5:
            killed.append(next(m for m in descendants(os.getpid()) if is_worker(m.pid)))
            os.kill(killed[0].pid, signal.SIGKILL)

    monkeypatch.setattr(ResultFile, 'append', append_and_kill)
    monkeypatch.setattr(Cluster, '_start', lambda self: started.append(1) or start(self))
    status, summary, _ = replay(capsys, *bags, *DEMO, '--out', tmp_path / 'out',
                                '--ray', 'local', '--ray-workers', 2)
    assert len(started) == 3 and not killed[0].alive, 'another one took its place'
    assert (status, [bag['equal'] for bag in summary['bags']]) == (0, [QUESTIONS] * 3)
    lines = lines_of(tmp_path / 'out')
    assert sorted((line['bag'], line['question']) for line in lines) == [
        (str(bag), number) for bag in bags for number in range(QUESTIONS)]


def test_a_cluster_that_is_not_there_is_named(tmp_path, capsys, first):
    pytest.importorskip('ray', reason='ray is not installed (an extra of lfm replay --ray)')
    bag = write(tmp_path / 'bag', first)
    assert main(['replay', str(bag), *DEMO, '--ray', 'nonsense address']) == 2
    assert 'no Ray cluster at nonsense address' in capsys.readouterr().err


def test_an_error_of_a_worker_is_told_as_without_a_cluster(tmp_path, capsys, first):
    pytest.importorskip('ray', reason='ray is not installed (an extra of lfm replay --ray)')
    bag = write(tmp_path / 'bag', first)
    assert main(['replay', str(bag), str(tmp_path / 'none'), '--ray', 'local']) == 2
    assert_one_line(capsys.readouterr().err, 'lfm replay: ', str(tmp_path / 'none'))


def test_an_observation_that_no_mission_takes_is_told(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(OBSERVATION, mission_id='m', text='This.', compressed_images=[png(1)])
        bag.write(QUERY, mission_id='m', prompt='What?', max_tokens=2)
    done = lfm('replay', bag.path, folder())
    assert done.returncode == 0
    assert_one_line(done.stderr, "lfm replay: an observation of mission 'm' was lost")


def test_help_needs_no_library_for_bags():
    code = ("import sys; sys.modules['mcap'] = sys.modules['mcap_ros2'] = None\n"
            f'from {command_line.__name__} import main\nmain(["replay", "--help"])')
    done = subprocess.run([sys.executable, '-c', code], env=environment(), capture_output=True,
                          text=True, timeout=WAIT)
    assert (done.returncode, done.stderr) == (0, '') and '--every' in done.stdout
