# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model folder that cannot work is refused with a code and one sentence that names the file."""
from dataclasses import fields
import json
import random
import shutil
from types import SimpleNamespace

from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.signature import read_signature
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.answer import Answer
import onnx
import pytest
from support import assert_one_line
from support import folder
from support import lfm

import damage  # noqa: I100
import layouts
import variants

SOURCE = folder()
GRAPH, DATA, TOKENIZER = damage.GRAPH, damage.DATA, damage.TOKENIZER
WORDS = json.dumps({'version': '1.0', 'added_tokens': [], 'model': {
    'type': 'WordLevel', 'vocab': {f'word{n}': n for n in range(200)}, 'unk_token': 'word0'}})


def put(name, content):
    """Return a harm that writes this into a file."""
    def harm(source, target):
        shutil.copytree(source, target)
        path = target / name
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
        return target
    return harm


def change_graph(change):
    def harm(source, target):
        return damage.edit(source, target, change)
    return harm


def settings(name, **values):
    """Return a harm that changes settings in a JSON file."""
    def harm(source, target):
        shutil.copytree(source, target)
        found = json.loads((target / name).read_text())
        (target / name).write_text(json.dumps({**found, **values}))
        return target
    return harm


def unknown_operator(domain):
    def change(model):
        model.graph.node[-1].op_type = 'OfTheFuture'
        model.graph.node[-1].domain = domain
    return change_graph(change)


def newer_opset(model):
    next(o for o in model.opset_import if not o.domain).version = 99


def newer_attribute(model):
    node = next(n for n in model.graph.node if n.op_type == 'GroupQueryAttention')
    node.attribute.append(onnx.helper.make_attribute('of_the_future', 1))


def flat_keys(model):
    """Give the keys a rank that no cache has."""
    item = next(i for i in model.graph.input if i.name.endswith('.key'))
    del item.type.tensor_type.shape.dim[2:]


def renamed_input(model):
    item = next(i for i in model.graph.input if i.name.startswith('past_conv'))
    for node in model.graph.node:
        node.input[:] = ['memory' if name == item.name else name for name in node.input]
    item.name = 'memory'


def renamed_output(model):
    item = next(i for i in model.graph.output if i.name.startswith('present_conv'))
    for node in model.graph.node:
        node.output[:] = ['memory' if name == item.name else name for name in node.output]
    item.name = 'memory'


def no_config(source, target):
    open_sizes = variants.without_state_size(source, target.with_name('open'))
    return layouts.without(open_sizes, target, 'config.json', 'genai_config.json')


# what is done to the folder, the code, words of the sentence
BAD = {
    'empty folder': (lambda s, t: t.mkdir() or t, 'MODEL_NOT_FOUND', '.onnx'),
    'no graph': (lambda s, t: damage.missing(s, t, GRAPH), 'MODEL_NOT_FOUND', GRAPH),
    'truncated graph': (lambda s, t: damage.truncated(s, t, GRAPH), 'MODEL_DAMAGED', GRAPH),
    'garbage graph': (damage.garbage, 'MODEL_DAMAGED', GRAPH),
    'empty graph': (damage.empty, 'MODEL_DAMAGED', GRAPH),
    'text as graph': (put(GRAPH, '<html>404</html>'), 'MODEL_DAMAGED', GRAPH),
    'LFS pointer as graph': (lambda s, t: damage.lfs_pointer(s, t, GRAPH), 'MODEL_DAMAGED',
                             'git lfs pull'),
    'LFS pointer as weights': (damage.lfs_pointer, 'WEIGHTS_MISSING', 'git lfs pull'),
    'truncated weights': (damage.truncated, 'WEIGHTS_MISSING', 'shorter'),
    'empty weights': (lambda s, t: damage.empty(s, t, DATA), 'WEIGHTS_MISSING', GRAPH),
    'no weights': (damage.missing, 'WEIGHTS_MISSING', GRAPH),
    'weights that are no numbers': (damage.not_a_number, 'MODEL_DAMAGED', GRAPH),
    'classifier of images': (damage.foreign_image_net, 'MODEL_FOREIGN', 'pixel_values'),
    'encoder of text': (damage.foreign_text_encoder, 'MODEL_FOREIGN', 'last_hidden_state'),
    'no state': (variants.without_states, 'MODEL_FOREIGN', 'cache'),
    'unknown input': (change_graph(renamed_input), 'MODEL_FOREIGN', 'memory'),
    'unknown output': (change_graph(renamed_output), 'MODEL_FOREIGN', 'present_conv'),
    'keys of rank 2': (change_graph(flat_keys), 'MODEL_DAMAGED', 'key'),
    'sizes that nothing tells': (no_config, 'MODEL_FOREIGN', 'config.json'),
    'unknown operator': (unknown_operator(''), 'RUNTIME_TOO_OLD', GRAPH),
    'unknown Microsoft operator': (unknown_operator('com.microsoft'), 'RUNTIME_TOO_OLD', GRAPH),
    'unknown domain': (unknown_operator('com.liquid'), 'RUNTIME_TOO_OLD', GRAPH),
    'newer opset': (change_graph(newer_opset), 'RUNTIME_TOO_OLD', GRAPH),
    'newer attribute': (change_graph(newer_attribute), 'RUNTIME_TOO_OLD', GRAPH),
    'broken config': (put('config.json', '{"a": '), 'MODEL_DAMAGED', 'config.json'),
    'config that is a list': (put('config.json', '[]'), 'MODEL_DAMAGED', 'config.json'),
    'config not in UTF-8': (put('config.json', b'\xff\xfe'), 'MODEL_DAMAGED', 'config.json'),
    'broken genai_config': (put('genai_config.json', 'x'), 'MODEL_DAMAGED', 'genai_config.json'),
    'graph that genai_config misses': (settings('genai_config.json', model={'decoder': {
        'filename': 'gone.onnx'}}), 'MODEL_NOT_FOUND', 'gone.onnx'),
    'broken generation_config': (put('generation_config.json', ''), 'MODEL_DAMAGED',
                                 'generation_config.json'),
    'sampling that cannot be': (settings('generation_config.json', temperature=-3),
                                'MODEL_DAMAGED', 'generation_config.json'),
    'no tokenizer': (lambda s, t: damage.missing(s, t, TOKENIZER), 'TOKENIZER_INVALID', TOKENIZER),
    'broken tokenizer': (lambda s, t: damage.truncated(s, t, TOKENIZER), 'TOKENIZER_INVALID',
                         TOKENIZER),
    'garbage as tokenizer': (lambda s, t: damage.garbage(s, t, TOKENIZER), 'TOKENIZER_INVALID',
                             TOKENIZER),
    'empty tokenizer': (lambda s, t: damage.empty(s, t, TOKENIZER), 'TOKENIZER_INVALID',
                        TOKENIZER),
    'LFS pointer as tokenizer': (lambda s, t: damage.lfs_pointer(s, t, TOKENIZER),
                                 'TOKENIZER_INVALID', 'git lfs pull'),
    'larger tokenizer': (damage.with_more_tokens, 'VOCABULARY_MISMATCH', GRAPH),
    'smaller tokenizer': (put(TOKENIZER, WORDS), 'VOCABULARY_MISMATCH', GRAPH),
    'config of another model': (settings('config.json', vocab_size=65536), 'VOCABULARY_MISMATCH',
                                'config.json'),
    'broken tokenizer_config': (put('tokenizer_config.json', '{'), 'MODEL_DAMAGED',
                                'tokenizer_config.json'),
    'broken template': (put('chat_template.jinja', '{% for %}'), 'TEMPLATE_INVALID',
                        'chat_template.jinja'),
    'template not in UTF-8': (put('chat_template.jinja', b'\xff\xfe{{'), 'TEMPLATE_INVALID',
                              'chat_template.jinja'),
    'template that says nothing': (put('chat_template.jinja', 'hello'), 'TEMPLATE_INVALID',
                                   'chat_template.jinja'),
    'template that escapes': (put('chat_template.jinja', "{{ ''.__class__.__mro__ }}"),
                              'TEMPLATE_INVALID', 'must not'),
    'template that is a number': (settings('tokenizer_config.json', chat_template=5),
                                  'TEMPLATE_INVALID', 'chat_template.jinja'),
}


def refusal(path, **options):
    """Return the error with which a model is refused."""
    with pytest.raises(LfmError) as caught:
        Model(path, ModelOptions(threads=1, **options))
    return caught.value


@pytest.mark.parametrize('name', BAD)
def test_a_bad_folder_is_refused_with_its_code_and_one_sentence(name, tmp_path):
    harm, code, word = BAD[name]
    error = refusal(harm(SOURCE, tmp_path / 'model'))
    assert error.code == ErrorCode[code], error.message
    assert_one_line(error.message, word)


@pytest.mark.parametrize('path', [
    '/nowhere/at all', '', '/dev/null', '~nobody-of-this-name/model', 'x' * 5000, 'a\x00b',
    '/etc/passwd/model', 'model\udcff'], ids=lambda path: ascii(path)[:30])
def test_a_path_that_leads_nowhere_is_refused_in_one_sentence(path):
    error = refusal(path)
    assert error.code in (ErrorCode.MODEL_NOT_FOUND, ErrorCode.MODEL_DAMAGED), error.message
    assert_one_line(error.message)


def test_a_state_of_another_rank_is_refused():
    item = SimpleNamespace(type='tensor(int64)', shape=[1, 'n'])
    state = SimpleNamespace(name='past_conv.0', type='tensor(float)', shape=[1, 32])
    with pytest.raises(LfmError) as caught:
        read_signature([SimpleNamespace(name='input_ids', **vars(item)), state],
                       [SimpleNamespace(name='logits', **vars(item))], {}, {})
    assert caught.value.code == ErrorCode.MODEL_FOREIGN
    assert_one_line(caught.value.message, 'past_conv.0')


def test_the_folder_above_the_model_is_refused_with_a_hint(tmp_path):
    shutil.copytree(SOURCE, tmp_path / 'deep' / 'model')
    assert 'deep/model' in refusal(tmp_path / 'deep').message
    layouts.in_onnx_community_layout({'': SOURCE}, tmp_path / 'far' / 'm')
    assert refusal(tmp_path / 'far').message.endswith('far/m?')


def test_a_variant_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    layouts.in_onnx_community_layout({'': SOURCE, '_q4': SOURCE}, tmp_path / 'm')
    error = refusal(tmp_path / 'm', variant='fp16')
    assert error.code == ErrorCode.MODEL_NOT_FOUND
    assert_one_line(error.message, 'fp16', 'onnx/model.onnx', 'onnx/model_q4.onnx')


def test_several_graphs_of_unknown_names_are_refused_with_a_choice(tmp_path):
    for name in ('one.onnx', 'two.onnx'):
        (tmp_path / name).touch()
    assert_one_line(refusal(tmp_path).message, 'one.onnx', 'two.onnx')


@pytest.mark.parametrize('providers', [['CUDAExecutionProvider', 'CPUExecutionProvider'],
                                       ['NoSuchProvider'], []])
def test_a_provider_that_is_not_there_is_refused_with_those_that_are(providers):
    error = refusal(SOURCE, providers=providers)
    assert error.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert_one_line(error.message, 'CPUExecutionProvider')


def test_a_context_that_holds_no_conversation_is_refused():
    assert refusal(SOURCE, context_length=15).code == ErrorCode.INVALID_VALUE


@pytest.mark.parametrize('name', [
    'empty folder', 'truncated graph', 'no weights', 'encoder of text', 'broken config',
    'unknown Microsoft operator', 'broken template', 'larger tokenizer'])
def test_lfm_refuses_a_bad_folder_with_status_2_and_one_line(name, tmp_path):
    harm, code, word = BAD[name]
    target = harm(SOURCE, tmp_path / 'model')
    done = lfm('ask', target, 'What?', *random.Random(name).choice([['--json'], []]))
    assert done.returncode == 2
    assert_one_line(done.stderr, word, 'lfm ask: ')
    if done.stdout:
        found = json.loads(done.stdout)  # the fields of Response, as with an answer
        assert {name: found[name] for name in ('error_code', 'error_msg')} == {
            'error_code': ErrorCode[code], 'error_msg': done.stderr[len('lfm ask: '):].rstrip()}
        assert set(found) == {field.name for field in fields(Answer)}


@pytest.mark.parametrize('name', ['../other/model.onnx', '/tmp/model.onnx', 'a/../../model.onnx'])
@pytest.mark.parametrize('part', ['decoder', 'embedding', 'vision'])
def test_a_model_that_refers_to_files_outside_of_its_folder_is_refused(tmp_path, part, name):
    model = tmp_path / 'model'
    shutil.copytree(folder(), model)
    settings = json.loads((model / 'genai_config.json').read_text())
    settings['model'].setdefault(part, {})['filename'] = name
    (model / 'genai_config.json').write_text(json.dumps(settings))
    with pytest.raises(LfmError, match='outside of its folder') as raised:
        Model(model)
    assert raised.value.code == ErrorCode.MODEL_FOREIGN


@pytest.mark.parametrize(('folders', 'reason'), [
    (('decoder', 'vision', 'embedding'), 'no genai_config.json'),
    (('decoder', 'vision_encoder'), 'no genai_config.json'),
    (('decoder',), 'no genai_config.json'),
    (('one',), 'did you mean .*/one?'), (('one', 'two'), 'did you mean .*/one, .*/two?'),
    (('one/onnx',), 'did you mean .*/one?')])
def test_graphs_that_lie_deeper_are_named_as_what_they_are(folders, reason, tmp_path):
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / 'model.onnx').touch()
    with pytest.raises(LfmError, match=reason.replace('?', r'\?')) as raised:
        find_model(tmp_path)
    assert raised.value.code == ErrorCode.MODEL_NOT_FOUND
    assert ('did you mean' in raised.value.message) != ('genai' in raised.value.message)
