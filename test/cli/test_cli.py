# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `lfm`: answers on stdout, messages on stderr, a status that tells which."""
import json
import os
import subprocess
import sys

from lfm_ros.cli.main import main
from lfm_ros.cli.output import visible
from lfm_ros.errors import ErrorCode
import numpy as np
import pytest
from support import assert_one_line
from support import command
from support import environment
from support import folder
from support import golden
from support import lfm
from support import open_model
from support import WAIT

PLAIN = ('--temperature', '0', '--repetition-penalty', '1', '--threads', '1')


def ask(*arguments):
    return lfm('ask', folder(), *arguments, *PLAIN)


def answer_to(*arguments):
    done = ask(*arguments, '--json')
    assert (done.returncode, done.stderr.count('\n') <= 1) == (0, True), done.stderr
    return json.loads(done.stdout)


def test_inspect_tells_what_a_folder_holds():
    done = lfm('inspect', folder(), '--json')
    assert (done.returncode, done.stderr) == (0, '')
    info = json.loads(done.stdout)
    assert done.stdout.count('\n') == 1
    assert (info['dialect'], info['conv_layers'], info['attention_layers']) == ('past_conv', 3, 2)
    assert (info['conv_columns'], info['vocabulary'], info['context_length']) == (3, 320, 512)
    assert (info['state_bytes_fixed'], info['state_bytes_token']) == (3 * 32 * 3 * 4, 4 * 16 * 4)
    assert set(info['files']) >= {'model.onnx', 'model.onnx.data', 'tokenizer.json'}
    text = lfm('inspect', folder())
    assert (text.returncode, text.stderr) == (0, '')
    for word in ('past_conv', '3 convolutions', '2 attentions', '320 tokens', '512'):
        assert word in text.stdout


def test_ask_prints_the_answer_and_says_when_it_was_cut():
    answer = answer_to('What?', '--max-tokens', '9')
    assert list(answer) == ['request_id', 'mission_id', 'text', 'finish_reason', 'error_code',
                            'error_msg', 'usage', 'tool_calls', 'choice_logprobs']
    assert (answer['mission_id'], answer['finish_reason'], answer['error_code']) \
        == ('default', 'length', 0)
    assert answer['usage']['generated_tokens'] == 9
    done = ask('What?', '--max-tokens', '9')
    assert (done.returncode, done.stdout) == (0, visible(answer['text']) + '\n')
    assert_one_line(done.stderr, 'lfm ask: ', 'length')


def test_ask_ends_before_a_stop_text():
    whole = answer_to('What?', '--max-tokens', '30')['text']
    stop = whole[20:23]
    answer = answer_to('What?', '--max-tokens', '30', '--stop', stop, '--stop', 'never')
    assert (answer['text'], answer['finish_reason']) == (whole.partition(stop)[0], 'stop')


def test_work_that_failed_gives_status_1():
    done = ask('What?', '--timeout', '1e-9', '--json')
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer['finish_reason'] == 'timeout'
    assert answer['error_code'] in (ErrorCode.TIMEOUT, ErrorCode.TIMEOUT_IN_QUEUE)
    assert_one_line(done.stderr, answer['error_msg'])


def test_chat_remembers_undoes_and_resets():
    first = answer_to('What?', '--max-tokens', '12')['text']
    lines = 'What?\n/undo\nWhat?\n\nWhere?\n/reset\nWhat?\n/dance\nWhat?'
    done = lfm('chat', folder(), '--max-tokens', '12', *PLAIN, stdin=lines.encode())
    assert done.returncode == 0
    start, undone, again, later = done.stdout.split(f'{visible(first)}\n')
    assert start == undone == '', 'the answer after /undo is the first one again'
    assert again and later, 'as the second question of a conversation it has another answer'
    assert "'/dance' is not a command" in done.stderr and 'Traceback' not in done.stderr


def test_chat_goes_on_after_a_mistake():
    done = subprocess.run(
        command('chat', folder(), '--max-tokens', '5', *PLAIN), capture_output=True, timeout=WAIT,
        env={**environment(), 'PYTHONIOENCODING': 'utf-8:strict'},
        input=b'/undo\n/reset\nbad \xff bytes\nWhat?\n')
    errors = done.stderr.decode()
    assert 'Traceback' not in errors
    assert errors.count('lfm chat: ') >= 3 and 'UTF-8' in errors
    answer = answer_to('What?', '--max-tokens', '5')['text']
    assert done.stdout.decode() == visible(answer) + '\n'
    assert done.returncode == 2


def test_score_of_a_text_is_that_of_its_ids():
    ids = open_model().tokenizer.encode('the dock <|im_end|>')
    by_text = json.loads(lfm('score', folder(), '--text', 'the dock <|im_end|>').stdout)
    assert by_text['ids'] == ids and len(by_text['logprobs']) == len(ids) - 1
    by_ids = json.loads(lfm('score', folder(), '--ids', ' '.join(map(str, ids))).stdout)
    assert np.allclose(by_ids['logprobs'], by_text['logprobs'], atol=1e-6)


def test_bench_measures_what_fits_and_says_what_does_not():
    done = lfm('bench', folder(), '--contexts', '0,16,9999', '--prefill', '8', '--decode', '2',
               '--rounds', '1', '--json')
    assert done.returncode == 0
    assert_one_line(done.stderr, '9999')
    rows = json.loads(done.stdout)['rows']
    assert [row['history'] for row in rows] == [0, 16]
    assert all(row['decode_tokens_per_second'] > 0 for row in rows)


INTERRUPT = """
from lfm_ros.cli import main
from lfm_ros.engine.runtime.runner import Runner
import os
import signal
import sys
import time
signal.signal(signal.SIGINT, signal.default_int_handler)
run, where = Runner.run, sys.argv.pop(1)

def interrupted(self, state, ids, every=False, cancel_token=None, features=None):
    if where == 'opening' or cancel_token and state.position > 30:
        os.kill(os.getpid(), signal.SIGINT)
        while cancel_token and not cancel_token.is_set:
            time.sleep(0.001)
    return run(self, state, ids, every, cancel_token)

Runner.run = interrupted
sys.exit(main.main())
"""


@pytest.mark.parametrize('where, words', [('answering', 'cancelled'), ('opening', 'interrupted')])
def test_ctrl_c_ends_an_answer_with_status_1_and_one_line(where, words):
    done = subprocess.run(
        [sys.executable, '-c', INTERRUPT, where, 'ask', str(folder()), 'What?', '--json', *PLAIN],
        env=environment(), capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 1
    assert_one_line(done.stderr, words)
    assert json.loads(done.stdout)['error_code'] == ErrorCode.CANCELLED


@pytest.mark.parametrize('arguments', [('ask', 'What?'), ('inspect',), ('ask', 'What?', '--json')])
def test_a_reader_that_is_gone_ends_the_command_quietly(arguments):
    verb, *rest = arguments
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(command(verb, folder(), *rest), env=environment(), stdout=theirs,
                          stderr=subprocess.PIPE, text=True, timeout=WAIT)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, '')


def test_a_disk_that_is_full_is_one_line():
    with open('/dev/full', 'w') as full:
        done = subprocess.run(command('inspect', folder(), '--json'), env=environment(),
                              stdout=full, stderr=subprocess.PIPE, text=True, timeout=WAIT)
    assert done.returncode == 1
    assert_one_line(done.stderr, 'lfm inspect: ')


def test_a_failure_that_cannot_be_written_is_one_line_more():
    with open('/dev/full', 'w') as full:
        done = subprocess.run(command('ask', 'nosuch', 'What?', '--json'), env=environment(),
                              stdout=full, stderr=subprocess.PIPE, text=True, timeout=WAIT)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'the output cannot be written' in done.stderr


def test_an_output_that_is_closed_is_one_line():
    done = subprocess.run(['sh', '-c', 'exec "$@" >&-', 'sh', *map(str, command(
        'inspect', folder()))], env=environment(), stderr=subprocess.PIPE, text=True, timeout=WAIT)
    assert done.returncode == 1
    assert_one_line(done.stderr, 'lfm inspect: ', 'output')


@pytest.mark.parametrize('arguments', [
    ('ask', b'bad \xff bytes'), ('ask', 'What?', '--system', b'\xff'),
    ('ask', 'What?', '--mission', b'\xff', '--json'), ('ask', 'What?', '--stop', b'\xff')])
def test_bytes_that_are_no_text_are_refused_with_status_2(arguments):
    verb, *rest = (os.fsdecode(a) if isinstance(a, bytes) else a for a in arguments)
    done = lfm(verb, folder(), *rest)
    assert done.returncode == 2
    assert_one_line(done.stderr, 'lfm ask: ')
    assert json.loads(done.stdout)['error_code'] if '--json' in rest else not done.stdout


def test_a_model_whose_path_is_no_text_is_refused_in_json():
    done = lfm('ask', os.fsdecode(b'/tmp/\xff'), 'What?', '--json')
    assert done.returncode == 2
    assert json.loads(done.stdout)['error_code'] == ErrorCode.MODEL_NOT_FOUND


def test_a_terminal_that_knows_only_ascii_gets_an_answer():
    done = subprocess.run(command('ask', folder(), 'What?', *PLAIN), capture_output=True,
                          env={**environment(), 'PYTHONIOENCODING': 'ascii'}, timeout=WAIT)
    assert done.returncode == 0 and b'Traceback' not in done.stderr
    assert done.stdout.isascii() and len(done.stdout) > 10


WRONG = [
    (), ('dance',), ('ask',), ('ask', 'MODEL'), ('ask', 'MODEL', 'What?', '--dance'),
    ('ask', 'MODEL', 'What?', '--max-tokens', '0'), ('ask', 'MODEL', 'What?', '--max-tokens', 'x'),
    ('ask', 'MODEL', 'What?', '--temperature', '-1'),
    ('ask', 'MODEL', 'What?', '--temperature', 'nan'),
    ('ask', 'MODEL', 'What?', '--top-p', '1.5'), ('ask', 'MODEL', 'What?', '--top-k', '-1'),
    ('ask', 'MODEL', 'What?', '--min-p', 'inf'), ('ask', 'MODEL', 'What?', '--seed', '-2'),
    ('ask', 'MODEL', 'What?', '--seed', str(1 << 64)),
    ('ask', 'MODEL', 'What?', '--repetition-penalty', '0'),
    ('ask', 'MODEL', 'What?', '--timeout', 'nan'), ('ask', 'MODEL', 'What?', '--timeout', '-1'),
    ('ask', 'MODEL', 'What?', '--mission', '../x'), ('ask', 'MODEL', ' '),
    ('ask', 'MODEL', 'What?', '--context', '7'), ('ask', 'MODEL', 'What?', '--context', '-1'),
    ('ask', 'MODEL', 'What?', '--threads', '-1'),
    ('ask', 'MODEL', 'What?', '--threads', '99999999999'),
    ('ask', 'MODEL', 'What?', '--system', 'x ' * 2000), ('ask', 'MODEL', 'What? ' * 2000),
    ('ask', 'MODEL', 'What?', '--variant', 'q4'), ('ask', '/nowhere', 'What?'),
    ('score', 'MODEL'), ('score', 'MODEL', '--ids', 'a,b'), ('score', 'MODEL', '--ids', ''),
    ('score', 'MODEL', '--ids', '1,320'), ('score', 'MODEL', '--ids', '-1'),
    ('score', 'MODEL', '--ids', '1', '--text', 'x'), ('score', 'MODEL', '--text', ''),
    ('score', 'MODEL', '--ids', '1', '--chunk', '0'), ('score', 'MODEL', '--ids', '1,' * 600),
    ('score', 'MODEL', '--text', 'a\udcff'), ('bench', 'MODEL', '--contexts', 'x'),
    ('bench', 'MODEL', '--contexts', '-1'), ('bench', 'MODEL', '--rounds', '0'),
    ('bench', 'MODEL', '--contexts', '9999'),
]


@pytest.mark.parametrize('arguments', WRONG, ids=lambda a: ' '.join(a)[:60].encode(
    'ascii', 'replace').decode())
def test_a_wrong_use_gives_status_2_and_one_line(arguments, capsys):
    arguments = [str(folder()) if a == 'MODEL' else a for a in arguments]
    status = main(arguments)
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, '')
    assert_one_line(printed.err, 'lfm')


@pytest.mark.parametrize('arguments', [('--help',), ('ask', '--help'), ('score', '--help')])
def test_help_is_no_mistake(arguments, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 0
    assert 'usage: lfm' in capsys.readouterr().out


def test_score_in_this_process_prints_the_golden_numbers(capsys):
    expected = golden('lfm2-past-conv')
    assert main(['score', str(folder()), '--ids', ','.join(map(str, expected['ids']))]) == 0
    found = json.loads(capsys.readouterr().out)['logprobs']
    assert np.allclose(found, expected['log_probabilities'], atol=expected['tolerance'])
