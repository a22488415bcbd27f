# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An answer has the form that was asked for, whatever the model would rather say."""
import json
import random
import re

from lfm_ros.engine.decoding.prompt_lookup import PromptLookup
from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.text.response_format import MAX_LENGTH
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.errors import ErrorCode
from lfm_ros.serving.memory_budget import GRAMMAR_BYTES
from lfm_ros.serving.memory_budget import grammar_engine_bytes
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
import numpy as np
import pytest
from scheduler_support import answer_of
from scheduler_support import Gate
from scheduler_support import running
from scheduler_support import twin
from schemas import random_schema
from schemas import valid
from support import compiled
from support import folder
from support import GREEDY
from support import log_probabilities
from support import open_model
from support import WAIT
from support import write_at_random

PLACE = json.dumps({
    'type': 'object', 'additionalProperties': False, 'required': ['action', 'place'],
    'properties': {'action': {'enum': ['go', 'look']}, 'sure': {'type': 'boolean'},
                   'place': {'type': 'integer', 'minimum': 0, 'maximum': 99}}})
WARM = {'temperature': 1.5, 'min_p': 0.0, 'top_p': 1.0, 'top_k': 0}
SAMPLINGS = [
    {'temperature': 0.0}, {'temperature': 5.0, 'min_p': 0.0}, {'top_k': 1}, {'top_k': 5, **WARM},
    {**WARM, 'top_p': 0.1}, {**WARM, 'min_p': 1.0}, {**WARM, 'repetition_penalty': 5.0},
    {**WARM, 'repetition_penalty': 0.1}]


@pytest.fixture(scope='module')
def scheduler():
    """Give a scheduler that answers several missions together."""
    with running(parallel=4) as scheduler:
        yield scheduler


@pytest.mark.parametrize('sampling', SAMPLINGS)
def test_an_object_follows_its_schema_with_every_sampling(scheduler, sampling):
    for seed in range(4):
        answer = answer_of(scheduler, 'Where?', mission_id=f's{seed}', max_tokens=60,
                           response_format=ResponseFormat(PLACE),
                           sampling={**sampling, 'seed': seed})
        assert answer.finish_reason == 'stop'
        found = json.loads(answer.text)
        assert found['action'] in ('go', 'look') and 0 <= found['place'] <= 99


@pytest.mark.parametrize('seed', range(40))
def test_every_complete_answer_to_a_random_schema_is_valid(scheduler, seed):
    chance = random.Random(seed)
    schema = random_schema(chance)
    answer = answer_of(
        scheduler, 'Say it.', mission_id=f'r{seed}', aside=True, max_tokens=200,
        response_format=ResponseFormat(json.dumps(schema)),
        sampling={'temperature': chance.choice([0.0, 1.0, 3.0]), 'min_p': 0.0, 'seed': seed})
    assert answer.error_code == ErrorCode.NONE, answer.error_msg
    assert answer.finish_reason in ('stop', 'length')
    if answer.finish_reason == 'stop':
        assert valid(json.loads(answer.text), schema), answer.text


@pytest.mark.parametrize('regex', [
    '[a-c]{3}', '(left|right) [0-9]{1,2}', '[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}Z', 'é+'])
def test_the_whole_answer_matches_a_regular_expression(scheduler, regex):
    answer = answer_of(scheduler, 'When?', mission_id='regex', sampling=WARM, max_tokens=60,
                       response_format=ResponseFormat(regex=regex))
    assert answer.finish_reason in ('stop', 'length')
    if answer.finish_reason == 'stop':
        assert re.fullmatch(regex, answer.text)


def test_a_grammar_rules_the_answer(scheduler):
    grammar = 'start: verb " " NUMBER\nverb: "go" | "turn"\nNUMBER: /[1-9][0-9]?/'
    answer = answer_of(scheduler, 'What?', mission_id='lark', sampling=WARM, max_tokens=30,
                       response_format=ResponseFormat(grammar=grammar))
    assert re.fullmatch('(go|turn) [1-9][0-9]?', answer.text) and answer.finish_reason == 'stop'


@pytest.mark.parametrize('choices', [
    ('yes', 'no'), ('stop', 'stop now'), ('<|im_end|>', '"\\\n'), ('日本', 'é', '😀')])
def test_the_answer_is_one_of_the_choices_to_the_letter(scheduler, choices):
    for seed in range(5):
        answer = answer_of(scheduler, 'Which?', aside=True, max_tokens=60,
                           response_format=ResponseFormat(choices=choices),
                           sampling={**WARM, 'seed': seed})
        assert answer.text in choices and answer.finish_reason == 'stop'


def test_choices_come_with_the_probability_that_the_model_gives_to_each(scheduler):
    choices = ('yes', 'no', 'the door is open')
    answer = answer_of(scheduler, 'Which?', mission_id='likely', max_tokens=60,
                       response_format=ResponseFormat(choices=choices, choice_logprobs=True))
    model, mission = open_model(variant=''), twin('likely')
    mission.add_question(mission.encode('Which?'))
    for choice, found in zip(choices, answer.choice_logprobs):
        ids = model.tokenizer.encode(choice)
        ends = [log_probabilities(model, [*mission.ids, *ids, end], [len(mission.ids), 1])
                for end in sorted(model.end_ids)]
        before = sum(ends[0][len(mission.ids) - 1:-1])
        expected = before + float(np.logaddexp.reduce([row[-1] for row in ends]))
        assert found == pytest.approx(expected, abs=1e-3)
    assert answer.text == choices[int(np.argmax(answer.choice_logprobs))]


def test_an_answer_that_is_cut_says_so(scheduler):
    answer = answer_of(scheduler, 'Where?', mission_id='cut',
                       response_format=ResponseFormat(PLACE), max_tokens=3)
    assert answer.finish_reason == 'length' and answer.usage.generated_tokens == 3
    with pytest.raises(ValueError, match=''):
        json.loads(answer.text)


def test_tokens_without_a_choice_are_read_together_and_counted(scheduler):
    runner = scheduler.store.model.runner
    sizes, run = [], runner.run

    def count(state, ids, *arguments, **options):
        sizes.append(len(ids))
        return run(state, ids, *arguments, **options)

    runner.run = count
    wanted = ResponseFormat(json.dumps({'const': 'the door of the workshop is open'}))
    try:
        answer = answer_of(scheduler, 'Say it.', mission_id='forced', max_tokens=60,
                           response_format=wanted)
    finally:
        del runner.run
    assert answer.text == '"the door of the workshop is open"'
    assert answer.usage.forced_tokens > 10
    assert answer.usage.generated_tokens - answer.usage.forced_tokens <= 2
    assert len(sizes) <= 2  # the question, and at most what is forced behind the first token


def test_the_pieces_of_an_answer_with_a_form_add_up_to_it(scheduler):
    pieces = []
    request = scheduler.submit(Query('Where?', 'pieces', max_tokens=60,
                                     response_format=ResponseFormat(PLACE),
                                     sampling={'temperature': 2.0, 'seed': 1}), pieces.append)
    assert ''.join(p.text for p in request.wait(WAIT).text and pieces) == request.answer.text


def test_a_cancelled_answer_with_a_form_leaves_no_trace(scheduler):
    answer_of(scheduler, 'Hello.', mission_id='undone')
    before = scheduler.submit_job(lambda: list(
        scheduler.store.get('undone').ids), 'undone').result(WAIT)
    gate = Gate()
    request = scheduler.submit(
        Query('Where?', 'undone', response_format=ResponseFormat('{}'), max_tokens=200), gate)
    assert gate.reached.wait(WAIT)
    request.cancel()
    gate.opened.set()
    assert request.wait(WAIT).error_code == ErrorCode.CANCELLED
    assert scheduler.submit_job(lambda: list(scheduler.store.get('undone').ids),
                                'undone').result(WAIT) == before


def test_guesses_change_nothing_in_an_answer_with_a_form(monkeypatch):
    said = [json.dumps({'action': 'go', 'place': n}) for n in (1, 12, 3)]
    texts = []
    for guesses in (True, False):
        with running() as scheduler:
            if not guesses:
                monkeypatch.setattr(PromptLookup, 'propose', lambda self, most: [])
            texts.append([answer_of(scheduler, ' '.join(said), mission_id='m', max_tokens=40,
                                    response_format=ResponseFormat(PLACE),
                                    sampling={'temperature': t, 'seed': 3}).text
                          for t in (0.0, 0.7, 0.0)])
    assert texts[0] == texts[1]


def test_a_turn_with_a_form_is_remembered_like_any_other(scheduler):
    answer = answer_of(scheduler, 'Where?', mission_id='kept',
                       response_format=ResponseFormat(PLACE), max_tokens=60)
    mission = scheduler.store.get('kept')
    assert [turn.text for turn in mission.turns] == [answer.text]
    text = open_model().tokenizer.decode(mission.ids)
    assert text.endswith(answer.text + '\n')


@pytest.mark.parametrize(('form', 'reason'), [
    (ResponseFormat('{"type": '), 'is not JSON'), (ResponseFormat('[]'), 'is not an object'),
    (ResponseFormat('{"type": "objekt"}'), 'Invalid type: objekt'),
    (ResponseFormat('{"not": {}}'), r'Unimplemented keys: \["not"\]'),
    (ResponseFormat('{"type": "integer", "minimum": 2, "maximum": 1}'), 'greater than maximum'),
    (ResponseFormat('{"$ref": "#/nowhere"}'),
     'does not exist'), (ResponseFormat(regex='('), 'unclosed group'),
    (ResponseFormat(regex='(?=a)b'), 'look-around'),
    (ResponseFormat(grammar='start: nothing'), 'unknown name'),
    (ResponseFormat(grammar='?'), 'expecting rule'), (ResponseFormat('{}', 'a'), 'set one'),
    (ResponseFormat(choices=('a', 'a')), 'twice'), (ResponseFormat(choices=('',)), '0 characters'),
    (ResponseFormat(choices=('a',) * 300),
     '256 at most'), (ResponseFormat(choice_logprobs=True), 'list the choices'),
    (ResponseFormat(regex='a' * (MAX_LENGTH + 1)), 'at most'),
    (ResponseFormat('[' * 50_000), 'is not JSON')])
def test_a_form_that_cannot_be_is_refused_before_any_token(scheduler, form, reason):
    answer = answer_of(scheduler, 'Where?', mission_id='refused', response_format=form)
    assert answer.error_code == ErrorCode.INVALID_FORMAT
    assert re.search(reason, answer.error_msg) and '\n' not in answer.error_msg
    assert answer.usage.prompt_tokens == answer.usage.generated_tokens == 0
    assert 'refused' not in scheduler.store


def test_stop_texts_and_a_form_are_refused_together(scheduler):
    answer = answer_of(scheduler, 'Where?', response_format=ResponseFormat('{}'), stop=('x',))
    assert answer.error_code == ErrorCode.INVALID_FORMAT and 'stop' in answer.error_msg


def test_a_grammar_that_explodes_ends_the_turn_with_a_sentence(scheduler):
    hostile = 'start: ' + ' '.join(['(a | b)*'] * 20) + '\na: /(x+x+)+y/\nb: /(x*)*z/'
    answer = answer_of(scheduler, 'Where?', mission_id='hostile', sampling=WARM, max_tokens=20,
                       response_format=ResponseFormat(grammar=hostile))
    assert answer.error_code in (ErrorCode.NONE, ErrorCode.INVALID_FORMAT)
    assert answer_of(scheduler, 'Where?', mission_id='hostile').error_code == ErrorCode.NONE


def test_a_form_is_compiled_once(scheduler):
    form = ResponseFormat(json.dumps({'const': 'once'}))
    output, found = scheduler.store.structured_output, []
    for _ in range(2):
        answer = answer_of(scheduler, 'Say it.', response_format=form, max_tokens=60)
        assert answer.text == '"once"'
        found.append(scheduler.submit_job(
            lambda: output.grammar(GrammarSource.of(form))).result(WAIT))
    assert found[0] is found[1] and found[0].done


def test_every_model_family_keeps_to_a_form():
    for name in ('lfm2-odd', 'qwen3', 'llama', 'phi', 'lfm2-moe', 'lfm2-int4'):
        model = open_model(name)
        ids = write_at_random(
            model, compiled(model, GrammarSource.of(ResponseFormat(PLACE))), seed=1)
        assert valid(json.loads(model.tokenizer.decode(ids)), json.loads(PLACE)), name


def test_what_holds_forms_is_taken_from_the_budget_of_missions():
    model = Model(folder(), ModelOptions(threads=1))  # of its own: nothing is compiled yet
    needed = grammar_engine_bytes(model)
    for room, code in ((needed + 2 * GRAMMAR_BYTES, ErrorCode.NONE),
                       (needed // 2, ErrorCode.OVER_BUDGET)):
        model.close()
        store = MissionStore(model, retention=RetentionPolicy(state_bytes_limit=room))
        scheduler = Scheduler(store, defaults=RequestDefaults(GREEDY, 6))
        try:
            answer = answer_of(scheduler, 'Where?',
                               response_format=ResponseFormat(choices=('yes', 'no')))
        finally:
            scheduler.stop()
        assert answer.error_code == code, answer.error_msg
        assert store.memory.limit == room - needed * model.grammar_engine_loaded
