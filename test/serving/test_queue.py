# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The queue is bounded, keeps the order, and says who lost a place."""
import random

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.query import Query
from lfm_ros.serving.queue import DROP_OLDEST
from lfm_ros.serving.queue import KEEP_LAST
from lfm_ros.serving.queue import POLICIES
from lfm_ros.serving.queue import REJECT
from lfm_ros.serving.queue import RequestQueue
from lfm_ros.serving.request import Request
import pytest


def request(name='', mission='default', timeout=0.0):
    return Request(Query('?', mission, request_id=name), timeout)


def names(requests):
    return [r.request_id for r in requests]


def take_all(queue):
    found = []
    while taken := queue.take():
        found.append(taken.request_id)
    return found


@pytest.mark.parametrize('policy', POLICIES)
def test_requests_are_taken_in_the_order_in_which_they_came(policy):
    queue = RequestQueue(5, policy)
    for place in range(5):
        assert queue.put(request(str(place), mission=str(place))) is None
    assert len(queue) == 5
    assert take_all(queue) == list('01234')
    assert queue.take() is None


def test_reject_refuses_what_finds_the_queue_full():
    queue = RequestQueue(2, REJECT)
    queue.put(request('a'))
    queue.put(request('b'))
    with pytest.raises(LfmError) as caught:
        queue.put(request('c'))
    assert caught.value.code == ErrorCode.QUEUE_FULL
    assert '2 requests' in caught.value.message
    assert take_all(queue) == ['a', 'b']


def test_drop_oldest_gives_the_place_of_the_one_that_waits_longest():
    queue = RequestQueue(2, DROP_OLDEST)
    assert [queue.put(request(n)) for n in 'ab'] == [None, None]
    assert queue.put(request('c')).request_id == 'a'
    assert queue.put(request('d')).request_id == 'b'
    assert take_all(queue) == ['c', 'd']


def test_keep_last_keeps_one_request_per_mission_in_its_place():
    queue = RequestQueue(2, KEEP_LAST)
    assert queue.put(request('a1', 'a')) is None
    assert queue.put(request('b1', 'b')) is None
    assert queue.put(request('a2', 'a')).request_id == 'a1'
    with pytest.raises(LfmError) as caught:
        queue.put(request('c1', 'c'))
    assert caught.value.code == ErrorCode.QUEUE_FULL
    assert take_all(queue) == ['a2', 'b1']


@pytest.mark.parametrize('policy', POLICIES)
def test_a_queue_without_places_refuses_everything(policy):
    queue = RequestQueue(0, policy)
    with pytest.raises(LfmError):
        queue.put(request())
    assert len(queue) == 0
    assert queue.put(request(), free=1) is None, 'an idle model takes it at once'


def test_cancelled_and_expired_requests_are_found_and_the_others_keep_their_order():
    queue = RequestQueue(5)
    requests = [request('a'), request('b', timeout=1e-9), request('c'), request('d'), request('e')]
    for each in requests:
        queue.put(each)
    requests[3].cancel()
    assert names(queue.take_ended()) == ['b', 'd']
    assert queue.take_ended() == []
    assert take_all(queue) == ['a', 'c', 'e']


def test_clear_gives_back_all_that_wait():
    queue = RequestQueue(3)
    for name in 'ab':
        queue.put(request(name))
    assert names(queue.clear()) == ['a', 'b']
    assert len(queue) == 0 and queue.clear() == []


@pytest.mark.parametrize('policy', POLICIES)
def test_nothing_is_lost_or_doubled_and_the_bound_holds(policy):
    chance = random.Random(2)
    queue = RequestQueue(3, policy)
    left, waiting = [], []
    for number in range(500):
        if chance.random() < 0.6:
            new = request(str(number), mission=chance.choice('abcde'))
            try:
                displaced = queue.put(new)
            except LfmError:
                left.append(new)
            else:
                if displaced and policy == KEEP_LAST:
                    waiting[waiting.index(displaced)] = new
                else:
                    waiting.append(new)
                    if displaced:
                        waiting.remove(displaced)
                if displaced:
                    left.append(displaced)
        elif waiting:
            if chance.random() < 0.3:
                ended = chance.choice(waiting)
                ended.cancel()
                assert queue.take_ended() == [ended]
            else:
                ended = queue.take()
                assert ended is waiting[0]
            waiting.remove(ended)
            left.append(ended)
        assert len(queue) == len(waiting) <= 3
    assert queue.clear() == waiting
    assert len({id(r) for r in left + waiting}) == len(left + waiting)
