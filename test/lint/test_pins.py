# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""No name that others hold on to changes by accident: what the code says is what is pinned."""
from __future__ import annotations

import pins
import pytest


@pytest.mark.parametrize('section', pins.SECTIONS)
def test_what_others_hold_on_to_is_as_it_was(section: str) -> None:
    if reason := pins.missing(section):
        pytest.skip(reason)
    changes = pins.differences(pins.pinned(section), pins.SECTIONS[section]())
    assert not changes, pins.report(section, changes) + pins.ADVICE


def test_a_name_that_is_gone_new_or_other_is_told_with_its_place() -> None:
    before = {'a': {'b': 1, 'c': ['x', 'y']}, 'd': 'z', 'e': {'f': []}}
    assert pins.differences(before, before) == {}
    assert pins.differences(before, {'a': {'b': 2, 'c': ['x', 'n', 'y']}, 'e': {'f': [], 'g': 0}}
                            ) == {'a/b': 'was 1, is 2', 'a/c: n': 'new', 'd': 'gone',
                                  'e/g': 'new'}


@pytest.mark.parametrize('found, told', [
    (['y', 'x'], {'a': 'has another order'}), (['x'], {'a: y': 'gone'}),
    (['x', 'z'], {'a: y': 'gone', 'a: z': 'new'}), (['x', 'y', 'y'], {'a': 'has another order'}),
    ({'x': 'y'}, {'a': 'was ["x", "y"], is {"x": "y"}'})])
def test_the_order_of_a_list_counts(found: object, told: dict[str, str]) -> None:
    assert pins.differences({'a': ['x', 'y']}, {'a': found}) == told
