# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to a mission, it is what a fresh mission that reads its ids would be."""
import random

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.decoding.limits import Limits
import numpy as np
import pytest
from support import ask
from support import assert_same
from support import begin
from support import check_invariants
from support import FailingRunner
from support import GREEDY
from support import open_model

WORDS = ['Where is the dock?', 'Go there.', 'What do you see on the table? ' * 3, 'And?', 'é 😀']
MOST_IDS = 360


class Sequence:
    """A random sequence of operations on a mission, and what should have come of it."""

    def __init__(self, name: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.model = open_model(name, prefill_chunk=16)
        self.empty_mission = Mission(
            'm', self.model, self.model.template.preamble('You are a robot.'))
        self.mission = self.empty_mission.fork('m')
        self.history: list[tuple[str, str]] = []   # what was asked and observed since the start
        self.done: list[str] = []

    def step(self) -> None:
        """Do one operation."""
        if len(self.mission.ids) > MOST_IDS:
            name = 'rewind'
        else:
            name = self.chance.choice(['ask', 'ask', 'ask', 'observe', 'observe', 'read', 'aside',
                                       'leave', 'fail', 'fork', 'rewind', 'reset'])
        self.done.append(name)
        getattr(self, name)()

    def ask(self) -> None:
        """Ask, and remember the question."""
        prompt = self.chance.choice(WORDS)
        count = self.chance.randint(1, 5)
        ask(self.mission, prompt, max_tokens=count)
        self.history.append(('ask', f'{count}{prompt}'))

    def observe(self) -> None:
        """Tell it something."""
        text = self.chance.choice(WORDS)
        self.mission.observe(text)
        self.history.append(('observe', text))

    def read(self) -> None:
        """Read ahead one call, as the scheduler does while idle."""
        if self.mission.pending_sizes:
            self.mission.prefill_next()

    def aside(self) -> None:
        """Ask without a trace."""
        ask(self.mission, self.chance.choice(WORDS), max_tokens=3, aside=True)

    def leave(self) -> None:
        """Leave a turn in the middle."""
        steps = begin(self.mission, self.chance.choice(WORDS), GREEDY, Limits(4)).steps()
        for _ in range(self.chance.randint(0, 6)):
            next(steps, None)
        if next(steps, None) is None:  # it had been complete by then
            self.mission.rewind(len(self.mission.turns) - 1)
            self._forget_from('ask', len(self.mission.turns))
        steps.close()

    def fail(self) -> None:
        """Let a call of the model fail."""
        runner = self.model.runner
        self.model.runner = FailingRunner(runner, self.chance.randint(1, 8), RuntimeError())
        turns = len(self.mission.turns)
        try:
            ask(self.mission, self.chance.choice(WORDS), max_tokens=4)
        except RuntimeError:
            pass
        finally:
            self.model.runner = runner
        if len(self.mission.turns) > turns:
            self.mission.rewind(turns)
            self._forget_from('ask', turns)

    def fork(self) -> None:
        """Go on with a copy, and spoil the original."""
        original, self.mission = self.mission, self.mission.fork('m')
        ask(original, 'What?', max_tokens=2)

    def rewind(self) -> None:
        """Go back to an earlier turn."""
        keep = self.chance.randint(0, len(self.mission.turns))
        self.mission.rewind(keep)
        self._forget_from('ask', keep)

    def reset(self) -> None:
        """Begin anew; not too often, or no mission gets long."""
        if self.chance.random() < 0.2:
            self.mission = self.empty_mission.fork('m')
            self.history.clear()

    def _forget_from(self, kind: str, keep: int) -> None:
        """Forget what came after the end of that many turns."""
        ends = [place + 1 for place, (what, _) in enumerate(self.history) if what == kind]
        del self.history[([0] + ends)[keep]:]

    def check(self) -> None:
        """Compare with a fresh mission to which only the history happened, and with its ids."""
        mission = self.mission
        check_invariants(mission)
        twin = self.empty_mission.fork('m')
        for kind, text in self.history:
            if kind == 'ask':
                ask(twin, text[1:], max_tokens=int(text[0]))
            else:
                twin.observe(text)
        assert mission.ids == twin.ids, self.done
        assert [(t.start, t.text) for t in mission.turns] == \
            [(t.start, t.text) for t in twin.turns], self.done
        assert mission.chunk_sizes + mission.pending_sizes == \
            twin.chunk_sizes + twin.pending_sizes, self.done
        for each in (mission, twin):
            while each.pending_sizes:
                each.prefill_next()
        assert_same(mission.state.arrays(), twin.state.arrays())
        # What has been read is what the ids say, however it was split into calls.
        state = self.model.new_state()
        for chunk in self.model.chunks(mission.ids):
            self.model.runner.run(state, chunk)
        for name, array in state.arrays().items():
            assert np.allclose(mission.state.arrays()[name], array, atol=1e-4), self.done


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('name', ['lfm2', 'lfm2-past-conv-odd', 'qwen3'])
def test_a_random_sequence_of_operations_leaves_what_its_history_says(name, seed):
    sequence = Sequence(name, seed)
    for count in range(1, 25):
        sequence.step()
        check_invariants(sequence.mission)
        if count % 8 == 0:
            sequence.check()
