# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a mission was shown is part of it: it is undone, kept, replayed and forgotten with it."""
from contextlib import closing
from dataclasses import replace
import shutil
import sqlite3

from lfm_ros.conversation.context_window import FORGET
from lfm_ros.conversation.entry import digest_of
from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.vision.image import encode
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.archive_writer import ArchiveWriter
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.log_schema import FILE_ID
from lfm_ros.storage.log_schema import VERSIONS
from log_support import quick_folder
import numpy as np
import pytest
from storage_support import close
from storage_support import open_store
from storage_support import tell
import support
from support import assert_same
from vision_support import answer
from vision_support import folder
from vision_support import image
from vision_support import NAMES
from vision_support import open_model


@pytest.fixture(params=NAMES)
def model(request):
    return open_model(request.param, prefill_chunk=16)


@pytest.fixture
def place():
    with quick_folder() as found:
        yield found / 'missions'


def begin(model, **options):
    return Mission('one', model, model.template.preamble(), **options)


def contents(mission):
    """Return all that two missions to which the same was said have in common."""
    mission.prefill_all()
    return (mission.ids, mission.chunk_sizes, [e.digest for e in mission.entries]), \
        mission.state.arrays()


def assert_equal(one, other):
    (told, arrays), (others_told, others_arrays) = contents(one), contents(other)
    assert told == others_told
    assert_same(arrays, others_arrays)


def in_store(store, prompt, *images, mission_id='one'):
    """Do a turn as the scheduler does."""
    store.memory.busy.add(mission_id)
    try:
        mission = store.get_or_create(mission_id)
        turn = answer(mission, prompt, *images)
        store.commit(mission_id)
    finally:
        store.memory.busy.clear()
    return turn.generation.text


def test_an_image_stands_before_the_words_of_its_turn(model):
    mission = begin(model)
    turn = answer(mission, 'What?', image())
    shown = model.vision.ids(mission.entries[1].images[0])
    start = mission.head_tokens + len(model.template.markup.user_prefix)
    assert mission.ids[start:start + len(shown)] == shown
    after = mission.ids[start + len(shown):]
    assert after[:len(model.tokenizer.encode('What?'))] == model.tokenizer.encode('What?')
    usage = turn.usage(0.0)
    assert usage.image_tokens == shown.count(model.image_id) == 12
    assert usage.image_tiles == 1 and 0 < usage.image_seconds <= usage.time_to_first_token


def test_another_image_gives_another_state_and_the_same_the_same(model):
    missions = [begin(model) for _ in range(3)]
    for mission, shown in zip(missions, (image(), image(), EncodedImage(encode(
            np.zeros((90, 120, 3), np.uint8))))):
        answer(mission, 'What?', shown)
    assert_equal(*missions[:2])
    one, other = (m.state.rows(0) for m in missions[1:])
    assert any(not np.array_equal(one[name], other[name]) for name in one)


def test_a_later_question_needs_no_eyes(model, monkeypatch):
    mission = begin(model)
    answer(mission, 'What?', image())
    monkeypatch.setattr(model.vision, 'features', None)
    turn = answer(mission, 'And now?')
    assert turn.usage(0.0).image_seconds == 0 and turn.cached_tokens > 12


def test_several_images_of_one_turn_come_in_their_order(model):
    mission, other = begin(model), begin(model)
    answer(mission, 'Which?', image(), image(420, 200))
    answer(other, 'Which?', image(420, 200), image())
    assert len(mission.entries[1].images) == 2
    assert mission.entries[1].images == other.entries[1].images[::-1]
    assert mission.ids != other.ids


@pytest.mark.parametrize('steps', range(1, 14))
def test_a_turn_with_images_that_is_left_at_any_step_was_never_there(model, steps):
    mission, twin = begin(model), begin(model)
    for each in (mission, twin):
        answer(each, 'Hello.')
    turn = support.begin(mission, 'What?', support.GREEDY, support.Limits(5),
                         images=[image(), image(150, 400)])
    left = 0
    for phase in (turn.prepare_images(), turn.steps()):
        for _ in phase:
            left += 1
            if left == steps:
                phase.close()
                break
        if left == steps:
            break
    for each in (mission, twin):
        answer(each, 'And?', image(420, 200))
    assert_equal(mission, twin)


def test_an_aside_looks_and_forgets(model):
    mission, twin = begin(model), begin(model)
    answer(mission, 'What?', image(), aside=True)
    for each in (mission, twin):
        answer(each, 'Hello.')
    assert_equal(mission, twin)
    assert not mission.entries[1].images


def test_an_observation_is_seen_when_there_is_time(model):
    mission = begin(model)
    mission.observe('Seen at the door.', [model.vision.processor.prepare(image().pixels())])
    assert mission.pending > 12 and mission.entries[1].images
    mission.observe('', [model.vision.processor.prepare(image(420, 200).pixels())])
    mission.prefill_all()
    assert answer(mission, 'What was it?').usage(0.0).image_tokens == 0
    assert [len(e.images) for e in mission.entries] == [0, 1, 1, 0]


def test_rewinding_behind_an_image_sees_it_again_or_not_at_all(model):
    mission, twin = begin(model), begin(model)
    for each in (mission, twin):
        answer(each, 'What?', image())
    for words in ('And?', 'Then?'):
        answer(mission, words, image(420, 200))
    mission.rewind(1)
    assert_equal(mission, twin)
    mission.rewind(0)
    assert_equal(mission, begin(model))


def test_a_mission_that_is_read_again_sees_what_it_saw(model):
    mission = begin(model)
    answer(mission, 'What?', image(), image(150, 400))
    answer(mission, 'And?')
    told = Transcript('one', mission.fingerprint, list(mission.ids), [],
                      mission.chunk_sizes + mission.pending_sizes, list(mission.entries))
    again = Mission.of(told, model)
    assert_equal(mission, again)
    fork = mission.fork('two')
    fork.recompute()
    fork.prefill_all()
    assert fork.ids == mission.ids
    # The tokens of answers were read one by one the first time.
    for name, array in fork.state.arrays().items():
        assert np.allclose(array, mission.state.arrays()[name], atol=1e-4)


def test_what_is_forgotten_takes_its_images_along():
    model = open_model(prefill_chunk=16, context_length=128)
    mission = begin(model, overflow=FORGET)
    for number in range(8):
        answer(mission, 'What?', image(seed=number))
    shown = [p for e in mission.entries for p in e.images]
    assert 1 <= len(shown) < 8
    assert mission.ids.count(model.image_id) == sum(p.tokens for p in shown)
    assert mission.forgotten
    mission.prefill_all()


def test_a_picture_larger_than_the_context_is_refused_with_a_way_out():
    model = open_model(prefill_chunk=16, context_length=64)
    with pytest.raises(LfmError, match='or smaller images') as raised:
        answer(begin(model), 'What?', image(150, 400), image(150, 400))
    assert raised.value.code == ErrorCode.PROMPT_TOO_LONG


def test_words_that_look_like_an_image_are_words(model):
    mission = begin(model)
    answer(mission, '<|image_start|><image><image><|image_end|> What is this?')
    assert model.image_id not in mission.ids
    assert answer(mission, 'And?', image()).usage(0.0).image_tokens == 12


def test_a_text_model_refuses_images_at_once():
    model = support.open_model()
    with pytest.raises(LfmError, match='reads text only') as raised:
        support.begin(support.new_mission(model), 'x', support.GREEDY, support.Limits(3),
                      images=[image()])
    assert raised.value.code == ErrorCode.NO_VISION


# through a restart

@pytest.mark.parametrize('states', [True, False], ids=['with states', 'from the log alone'])
def test_images_outlive_the_process(model, place, states):
    store, twin = open_store(place, model), MissionStore(model, 'You are a robot.')
    for each in (store, twin):
        in_store(each, 'What?', image(), image(150, 400))
        each.observe('one', 'Seen.', [image(420, 200)])
        in_store(each, 'And?')
    close(store)
    if not states:
        shutil.rmtree(place / 'states')
    model.vision.shrink(0)
    store = open_store(place, model)
    assert_equal(store.get('one'), twin.get('one'))
    assert in_store(store, 'And now?', image()) == in_store(twin, 'And now?', image())
    assert_equal(store.get('one'), twin.get('one'))
    close(store)


def pictures_in(place):
    with closing(sqlite3.connect(place / 'missions.db')) as database:
        return database.execute('SELECT COUNT(*) FROM pictures').fetchone()[0]


def test_a_picture_is_kept_once_and_as_long_as_a_mission_needs_it(place):
    model = open_model(prefill_chunk=16)
    store = open_store(place, model)
    for name in ('one', 'two'):
        in_store(store, 'What?', image(), image(), mission_id=name)
    in_store(store, 'And?', image(420, 200))
    assert pictures_in(place) == 2
    store.rewind('one', 1)
    assert pictures_in(place) == 1
    store.fork('one', 'three')
    store.delete('one')
    store.reset('two')
    assert pictures_in(place) == 1
    store.delete('three')
    assert pictures_in(place) == 0
    close(store)


def test_a_log_of_the_first_version_gets_a_place_for_pictures(place):
    place.mkdir()
    model = open_model(prefill_chunk=16)
    with closing(sqlite3.connect(place / 'missions.db', isolation_level=None)) as database:
        database.execute('PRAGMA page_size=1024')
        database.execute('PRAGMA journal_mode=WAL')
        database.executescript(VERSIONS[0])
        database.execute('PRAGMA user_version=1')
        database.execute(f'PRAGMA application_id={FILE_ID + 1}')
    store = open_store(place, model)
    assert not store.storage.durability_error and not store.storage.notice
    in_store(store, 'What?', image())
    close(store)
    with closing(MissionLog(place / 'missions.db')) as log:
        assert len(log.read('one').entries[1].images) == 1


def test_a_log_of_the_first_version_can_be_listed_without_a_model(place):
    model = support.open_model(prefill_chunk=16)
    store = open_store(place, model)
    tell(store, 'one', 'Hello.')
    close(store)
    with closing(sqlite3.connect(place / 'missions.db', isolation_level=None)) as database:
        for table in ('pictures', 'shown'):
            database.execute(f'DROP TABLE {table}')
        database.execute('PRAGMA user_version=1')
        database.execute(f'PRAGMA application_id={FILE_ID + 1}')
    for arguments in (('list',), ('show', 'one')):
        done = support.lfm('missions', '--missions-dir', place, *arguments)
        assert (done.returncode, done.stderr) == (0, ''), done.stderr
    store = open_store(place, model)
    assert store.get('one').turn_count == 1 and not store.storage.notice
    close(store)


def test_a_damaged_picture_ends_the_mission_before_it(place):
    model = open_model(prefill_chunk=16)
    store = open_store(place, model)
    in_store(store, 'Hello.')
    in_store(store, 'What?', image())
    in_store(store, 'And?')
    close(store)
    with closing(sqlite3.connect(place / 'missions.db', isolation_level=None)) as database:
        database.execute("UPDATE pictures SET main = x'00'")
    store = open_store(place, model)
    assert store.get('one').turn_count == 1
    assert 'damaged: 1 turns were recovered, 2 after them are lost' in store.storage.notice
    close(store)


def test_what_is_salvaged_of_a_damaged_log_has_its_pictures(place):
    model = open_model(prefill_chunk=16)
    store = open_store(place, model)
    in_store(store, 'What?', image(), image(420, 200))
    in_store(store, 'And?')
    wanted = store.get('one').digest
    close(store)
    file = place / 'missions.db'
    data = bytearray(file.read_bytes())
    data[20:40] = bytes(20)  # of the header: SQLite opens it no more
    file.write_bytes(data)
    store = open_store(place, model)
    assert 'damaged' in store.storage.notice
    assert store.get('one').digest == wanted
    close(store)


def test_an_archive_carries_pictures_to_another_robot(place, tmp_path):
    model = open_model(prefill_chunk=16)
    store = open_store(place, model)
    in_store(store, 'What?', image(), image(150, 400))
    store.archives.export('one', tmp_path / 'one.zip')
    other = open_store(place.with_name('other'), model)
    assert other.archives.import_(tmp_path / 'one.zip', 'two') == 'two'
    assert_equal(other.get('two'), store.get('one'))
    close(store)
    close(other)


@pytest.mark.parametrize('change', [
    {'rows': 4000, 'columns': 4000}, {'rows': 1 << 30}, {'tokens': 5}, {'columns': 7}], ids=str)
def test_an_archive_whose_pictures_are_made_up_harms_nobody(place, tmp_path, change):
    model = open_model(prefill_chunk=16)
    store = open_store(place, model)
    mission = store.get_or_create('one')
    shown = model.vision.processor.prepare(image().pixels())
    mission.observe('Seen.', [shown])
    mission.prefill_all()
    head, last = mission.entries
    last = replace(last, images=(replace(shown, **change),))
    ids, calls = mission.ids[head.tokens:], mission.chunk_sizes[head.chunk_count:]
    mission.entries[-1] = replace(last, digest=digest_of(head.digest, last, ids, calls))
    ArchiveWriter.of(mission, None).write(tmp_path / 'one.zip')
    close(store)
    other = open_store(place.with_name('other'), model)
    try:
        other.archives.import_(tmp_path / 'one.zip', 'two')
    except LfmError as error:
        assert error.code == ErrorCode.ARCHIVE_INVALID
    else:
        with pytest.raises(LfmError):
            in_store(other, 'What?', mission_id='two')
        other.evict('two')
    assert in_store(other, 'Hello.', mission_id='three')
    close(other)


def test_a_shorter_context_does_not_change_what_was_seen(place):
    model = open_model(prefill_chunk=16)
    store = open_store(place, model)
    in_store(store, 'What?', image(150, 400))
    in_store(store, 'Then? ' * 60)
    seen = store.get('one').entries[1].images
    close(store)
    limited = Model(folder(), ModelOptions(threads=1, prefill_chunk=16, context_length=128,
                                           image_tiling=False))
    store = open_store(place, limited)
    assert [p for e in store.get('one').entries for p in e.images] in ([], list(seen))
    close(store)


def test_an_image_that_another_model_refuses_is_told_to_it(place):
    store = open_store(place, open_model(prefill_chunk=16))
    in_store(store, 'What?', image(400, 32), image())
    close(store)
    other = Model(folder(NAMES[0] if NAMES[0] != 'lfm2-vl-past-conv' else NAMES[1]),
                  ModelOptions(threads=1, prefill_chunk=16, image_tokens=8))
    store = open_store(place, other)
    turn = store.get('one').turns[0]
    assert turn.prompt == '(an image) What?' and len(store.get('one').entries[1].images) == 1
    close(store)


def test_a_model_with_other_eyes_looks_at_the_pictures_again(place):
    one, other = (open_model(name, prefill_chunk=16) for name in NAMES[:2])
    store = open_store(place, one)
    in_store(store, 'What?', image(), image(150, 400))
    close(store)
    store = open_store(place, other)
    mission = store.get('one')
    assert mission.turn_count == 1 and len(mission.entries[1].images) == 2
    in_store(store, 'And?')
    close(store)


def test_a_text_model_is_told_that_there_was_an_image(place):
    store = open_store(place, open_model(prefill_chunk=16))
    in_store(store, 'What?', image())
    close(store)
    store = open_store(place, support.open_model(prefill_chunk=16))
    assert [turn.prompt for turn in store.get('one').turns] == ['(an image) What?']
    close(store)


# budget

def test_features_make_room_before_missions_are_put_aside():
    model = Model(folder(), ModelOptions(threads=1, prefill_chunk=16))
    store = MissionStore(model, 'You are a robot.')
    in_store(store, 'What?', image())
    assert model.vision.nbytes
    store.memory.limit = store.memory.nbytes
    in_store(store, 'Hello.', mission_id='two')
    assert not model.vision.nbytes
    assert store.memory.nbytes <= store.memory.limit


def test_missions_are_put_aside_for_an_image_that_is_large_while_it_is_decoded():
    model = open_model(prefill_chunk=16)
    store = MissionStore(model, 'You are a robot.')
    in_store(store, 'Hello.', mission_id='two')
    large = image(600, 600)
    store.memory.limit = store.memory.nbytes + large.memory - 1000
    store.get_or_create('one')
    store.memory.reserve_for_images([image(), large], 'one')
    assert [info.resident for info in store.list()] == [False, True]
    store.memory.limit = store.memory.nbytes + large.memory - 1000
    with pytest.raises(LfmError, match='memory.budget_mb') as raised:
        store.memory.reserve_for_images([large], 'one')
    assert raised.value.code == ErrorCode.OVER_BUDGET


def test_pictures_count_as_memory_of_their_mission():
    mission = begin(open_model(prefill_chunk=16))
    before = mission.nbytes - mission.state.nbytes
    answer(mission, 'What?', image())
    shown = mission.entries[1].images[0]
    assert mission.nbytes - mission.state.nbytes >= before + shown.nbytes


# the scheduler

class Late:
    """An image that comes after so many looks, or never."""

    header = None
    memory = nbytes = 0

    def __init__(self, looks):
        self.looks = looks

    @property
    def ready(self):
        self.looks -= 1
        return self.looks < 0

    def pixels(self):
        return image().pixels()


@pytest.fixture
def scheduler():
    found = Scheduler(MissionStore(open_model(prefill_chunk=16), 'You are a robot.'))
    yield found
    found.stop()


def query(*images, **fields):
    return Query('What?', sampling={'temperature': 0.0}, max_tokens=4, images=images, **fields)


def test_an_image_that_is_late_is_waited_for(scheduler):
    found = scheduler.submit(query(Late(3))).wait(support.WAIT)
    assert (found.error_code, found.usage.image_tokens) == (0, 12)


def test_waiting_for_an_image_ends_with_the_time_of_the_request(scheduler):
    found = scheduler.submit(query(Late(1 << 30), timeout=0.05)).wait(support.WAIT)
    assert found.error_code == ErrorCode.TIMEOUT_IN_QUEUE
    assert scheduler.submit(query()).wait(support.WAIT).error_code == 0


def test_a_request_that_waits_for_an_image_keeps_no_other_mission_waiting(scheduler):
    late, done = Late(1 << 30), []
    waits = scheduler.submit(query(late), on_answer=lambda _: done.append('waits'))
    behind = scheduler.submit(query(), on_answer=lambda _: done.append('behind'))
    other = scheduler.submit(query(mission_id='other'), on_answer=lambda _: done.append('other'))
    assert other.wait(support.WAIT).error_code == 0
    reset = scheduler.submit_job(lambda: done.append('reset'), 'default')
    late.looks = 0
    for request in (waits, behind):
        assert request.wait(support.WAIT).error_code == 0
    reset.result(support.WAIT)
    assert done == ['other', 'waits', 'behind', 'reset']


def test_waiting_for_an_image_can_be_cancelled(scheduler):
    never = Late(1 << 30)
    request = scheduler.submit(query(never))
    while never.looks == 1 << 30:
        pass
    request.cancel()
    assert request.wait(support.WAIT).error_code == ErrorCode.CANCELLED
    assert not scheduler.store.list()


def test_too_many_images_are_refused(scheduler):
    found = scheduler.submit(query(*[image()] * 20)).wait(support.WAIT)
    assert found.error_code == ErrorCode.INVALID_VALUE
    assert 'there are 20 images: send 16 at most' in found.error_msg


def test_an_image_that_cannot_be_used_leaves_no_trace(scheduler):
    found = scheduler.submit(query(image(), EncodedImage(b'x'))).wait(support.WAIT)
    assert found.error_code == ErrorCode.INVALID_IMAGE
    assert not scheduler.store.list()


@pytest.mark.parametrize('ending', ['refused', 'cancelled', 'too long'])
def test_a_question_that_did_not_come_about_leaves_no_features(scheduler, ending):
    assert scheduler.submit(query()).wait(support.WAIT).error_code == 0
    mission = scheduler.store.get('default')
    if ending == 'refused':
        scheduler.store.memory.limit = 1
        request = scheduler.submit(query(image()))
    elif ending == 'too long':
        request = scheduler.submit(query(*[image(420, 200)] * 16))
    else:
        request = scheduler.submit(query(*[image(420, 200, seed) for seed in range(3)]))
        while not mission.image_features.nbytes and request.answer is None:
            pass
        request.cancel()
    assert request.wait(support.WAIT).error_code
    scheduler.submit_job(lambda: None).result(support.WAIT)
    assert mission.image_features.nbytes == 0


def test_images_of_observations_are_taken_in_when_no_answer_is_written(scheduler):
    seen = []

    class Noted(Late):
        def pixels(self):
            seen.append(scheduler.running)
            return super().pixels()

    answers = [scheduler.submit(Query('What?', f'm{n}', max_tokens=30)) for n in range(3)]
    future = scheduler.observe('one', 'Seen.', [Noted(0)])
    for each in answers:
        each.wait(support.WAIT)
    future.result(support.WAIT)
    assert seen == [None]


def test_more_bytes_of_images_than_may_wait_are_refused(scheduler):
    class Large(Late):
        nbytes = 20 << 20

    first = scheduler.submit(query(Large(1 << 30)))
    second = scheduler.submit(query(Large(1 << 30), mission_id='two')).wait(support.WAIT)
    assert second.error_code == ErrorCode.QUEUE_FULL and 'images wait' in second.error_msg
    with pytest.raises(LfmError, match='images wait'):
        scheduler.observe('one', 'Seen.', [Large(0)]).result(support.WAIT)
    first.cancel()
    first.wait(support.WAIT)


def test_an_observation_with_a_bad_image_is_refused_and_makes_no_mission(scheduler):
    future = scheduler.observe('one', 'Seen.', [EncodedImage(b'x')])
    with pytest.raises(LfmError, match='neither JPEG nor PNG'):
        future.result(support.WAIT)
    assert not scheduler.store.list()
