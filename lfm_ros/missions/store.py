# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All missions of a node, by name: in memory as far as they fit, the rest put aside."""
from __future__ import annotations

from collections.abc import Container
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
import logging
from pathlib import Path

from lfm_ros.engine.grammar import Grammar
from lfm_ros.engine.grammar_compiler import MAX_MEMORY
from lfm_ros.engine.grammar_source import GrammarSource
from lfm_ros.engine.model import Model
from lfm_ros.engine.picture import ImageSource
from lfm_ros.engine.tokenizer import check_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError
from lfm_ros.missions.archive import Archive
from lfm_ros.missions.budget import GRAMMAR_BYTES
from lfm_ros.missions.budget import grammar_server_bytes
from lfm_ros.missions.budget import in_mb
from lfm_ros.missions.keeping import Keeping
from lfm_ros.missions.mission import Mission
from lfm_ros.missions.overflow import SLIDE
from lfm_ros.missions.package import Package
from lfm_ros.missions.request import check_images
from lfm_ros.missions.request import check_mission_id
from lfm_ros.missions.request import check_new_mission_id
from lfm_ros.missions.retell import retell
from lfm_ros.missions.slot import MissionInfo
from lfm_ros.missions.slot import Slot
from lfm_ros.missions.storage import Storage
from lfm_ros.missions.transcript import Transcript
from lfm_ros.process import return_freed_memory

_log = logging.getLogger(__name__)


class MissionStore:
    """
    Holds the missions of one model.

    The system prompt is read once; every new mission starts with a copy of the state after it.

    :param storage: where missions are kept that are not in memory, and outlive the process.
    :ivar busy: the missions that are answered now; they are not put aside.
    """

    def __init__(self, model: Model, system_prompt: str = '', keeping: Keeping = Keeping(),
                 storage: Storage | None = None) -> None:
        self.model = model
        self.keeping = keeping
        self.storage = storage or Storage(None, model)
        self._slots: dict[str, Slot] = {}
        self._turns = 0
        self._doomed: set[str] = set()  # deleted, but not yet from the log
        self.busy: set[str] = set()
        if keeping.overflow == SLIDE:
            model.rotary  # refuse now what this model cannot do
        check_text(system_prompt, 'system prompt')
        head = model.template.head(system_prompt)
        if len(head) > model.context_length // 2:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the system prompt has {len(head)} tokens '
                           f'and the context holds {model.context_length}: shorten it or raise '
                           'model.context_length')
        self._blank = Mission('', model, head, system_prompt, keeping.overflow)
        self._blank.before_cut = self.storage.settle
        self.storage.save(self._blank)
        self._find_missions()
        self._collect()

    @property
    def nbytes(self) -> int:
        """Return the memory of all states."""
        slots = list(self._slots.values())
        aside = sum(picture.nbytes for slot in slots if slot.aside
                    for entry in slot.aside.entries for picture in entry.images)
        missions = [slot.mission for slot in slots]
        features = self.model.vision.nbytes if self.model.vision else 0
        grammars = self.model.grammars.nbytes if self.model.has_grammars else 0
        return self._blank.nbytes + sum(m.nbytes for m in missions if m) + features + \
            grammars + self.storage.memory + aside

    @property
    def written(self) -> tuple[int, int, int]:
        """Return turns committed, and bytes written into the log and into checkpoints."""
        return self._turns, *self.storage.bytes_written

    def list(self) -> list[MissionInfo]:
        """Describe all missions, in the order in which they began; from any thread."""
        now = self.storage.uptime
        return [self._describe(slot, now) for slot in list(self._slots.values())]

    def get(self, mission_id: str) -> Mission:
        """Return a mission; it comes back into memory if need be."""
        check_mission_id(mission_id)
        slot = self._slot(mission_id)
        slot.used = self.storage.uptime
        return slot.mission or self._bring_back(slot)

    def get_or_create(self, mission_id: str) -> Mission:
        """Return a mission, new if need be."""
        if mission_id in self._slots:
            return self.get(mission_id)
        check_mission_id(mission_id)
        self._check_place()
        return self._begin(mission_id, self._blank)

    def __contains__(self, mission_id: str) -> bool:
        """Tell whether there is such a mission."""
        return mission_id in self._slots

    def observe(self, mission_id: str, text: str, images: Sequence[ImageSource] = ()) -> None:
        """Tell or show a mission something that needs no answer; it is made if need be."""
        known = mission_id in self
        try:
            check_images(images)
            self.make_room_to_look(images, mission_id)
            pictures = [self.model.sight().take_in(image) for image in images]
            mission = self.get_or_create(mission_id)
            self.make_room(mission, len(mission.ids) + len(mission.encode(text, pictures)))
            mission.observe(text, pictures)
        except LfmError:
            if not known:
                self.discard(mission_id)
            raise
        # Nobody waits for an observation: it goes to the disk with others, or with a turn.

    def with_tools(self, mission: Mission, tools: str) -> Mission:
        """
        Return a mission as it would be with other tools; :meth:`commit` puts it in the place.

        :raises LfmError: UNSUPPORTED, PROMPT_TOO_LONG, OVER_BUDGET.
        """
        other = mission.with_tools(tools)
        self._free(other.state.nbytes_at(min(len(other.ids), self.model.context_length)),
                   mission.mission_id)
        other.before_cut = self.storage.settle
        return other

    def commit(self, mission_id: str, changed: Mission | None = None) -> None:
        """
        Have the log hold what a mission holds; when that fails, storage.trouble says so.

        :param changed: what is in its place from now on.
        """
        slot = self._slots[mission_id]
        if changed and changed is not slot.mission:
            slot.mission, slot.stored, slot.storing = changed, '', ''
        mission = slot.mission
        assert mission
        turns = mission.turn_count
        if turns > slot.turns:
            slot.unstored_turns += turns - slot.turns
            self._turns += turns - slot.turns
        slot.tokens, slot.turns, slot.used = len(mission.ids), turns, self.storage.uptime
        self._log_it(slot)

    def make_room(self, mission: Mission, tokens: int) -> None:
        """
        See that a mission can grow to that many tokens, put others aside if need be.

        :raises LfmError: OVER_BUDGET.
        """
        tokens = min(tokens, self.model.context_length)
        self._free(mission.state.nbytes_at(tokens) - mission.state.nbytes, mission.mission_id)
        mission.state.reserve(tokens)

    def make_room_to_look(self, images: Sequence[ImageSource], mission_id: str) -> None:
        """
        See that the largest of these images can be taken in, put missions aside if need be.

        :param mission_id: of the mission that looks; it stays.
        :raises LfmError: OVER_BUDGET.
        """
        if self.keeping.room:
            self._free(max((image.memory for image in images), default=0), mission_id)

    def load_grammars(self) -> None:
        """
        See that answers can be held to a grammar; from the first time on that takes memory.

        :raises LfmError: UNSUPPORTED, OVER_BUDGET.
        """
        if self.model.has_grammars:
            return
        needed = grammar_server_bytes(self.model)
        self._free(needed)
        self.model.grammars
        return_freed_memory()
        if self.keeping.room:
            self.keeping = replace(self.keeping, room=self.keeping.room - needed)

    def grammar(self, source: GrammarSource) -> Grammar:
        """
        Return a grammar, which may still have to be compiled; missions make room for that.

        :raises LfmError: UNSUPPORTED, OVER_BUDGET.
        """
        self.load_grammars()
        grammars, memory = self.model.grammars, MAX_MEMORY
        if self.keeping.room and source not in grammars:
            self._free(GRAMMAR_BYTES)
            memory = min(memory, self.keeping.room - self.nbytes)
        return grammars.get(source, memory)

    def compile_grammars(self, wanted: Sequence[Grammar]) -> None:
        """Go on with the grammars that requests wait for, give up those that none waits for."""
        if self.model.has_grammars:
            self.model.grammars.keep(wanted)
            for grammar in wanted:
                self.model.grammars.advance(grammar)

    def discard(self, mission_id: str) -> None:
        """Delete a mission if it is there."""
        slot = self._slots.pop(mission_id, None)
        if slot:  # the log may have an earlier version of what it has not been told of
            if not self.storage.delete(mission_id):
                self._doomed.add(mission_id)
            self._collect()

    def reset(self, mission_id: str) -> None:
        """Forget all turns of a mission."""
        slot = self._slot(mission_id)
        slot.mission = slot.aside = None
        slot.stored = slot.storing = ''
        self._begin(mission_id, self._blank, slot)
        self.commit(mission_id)
        self._collect()

    def delete(self, mission_id: str) -> None:
        """Delete a mission."""
        self._slot(mission_id)
        self.discard(mission_id)

    def fork(self, mission_id: str, new_mission_id: str) -> None:
        """Copy a mission."""
        mission = self.get(mission_id)
        check_new_mission_id(new_mission_id, self._slots)
        self._check_place()
        self._begin(new_mission_id, mission)
        self._slots[new_mission_id].stored = self._slots[mission_id].stored
        self._slots[new_mission_id].storing = self._slots[mission_id].storing
        self.commit(new_mission_id)

    def rewind(self, mission_id: str, turns: int) -> None:
        """Take a mission back to the end of an earlier turn."""
        mission = self.get(mission_id)
        mission.rewind(turns)
        slot = self._slots[mission_id]
        slot.storing = ''
        slot.stored = self.storage.newest([e.digest for e in mission.entries])
        self.commit(mission_id)
        self._collect()

    def save(self, mission_id: str) -> int:
        """
        Store the state of a mission now.

        :returns: the bytes that it takes on disk.
        :raises LfmError: STORAGE_FAILED when it could not be written.
        """
        self.get(mission_id)
        slot = self._slots[mission_id]
        if self.storage.folder is None:
            raise LfmError(ErrorCode.STORAGE_FAILED, 'there is no place for missions: set '
                           'missions.dir')
        self._log_it(slot)
        self._store(slot)
        self.storage.settle()
        if self.storage.trouble:
            raise LfmError(ErrorCode.STORAGE_FAILED, self.storage.trouble)
        return self._describe(slot, 0.0).stored_bytes

    def package(self, mission_id: str) -> Package:
        """Gather what an archive of a mission holds; its write() may go to another thread."""
        slot = self._slot(mission_id)
        self._store(slot)
        self.storage.settle()
        return Package.of(slot.transcript or self.storage.read(mission_id),
                          self.storage.checkpoints, self.model.name, self.storage.vault)

    def export(self, mission_id: str, file: Path) -> int:
        """
        Write a mission into a file, with its state where there is a place for states.

        With a key it is encrypted: only those can import it who have the key.

        :returns: the size of the file in bytes.
        :raises LfmError: UNKNOWN_MISSION, STORAGE_FAILED.
        """
        return self.package(mission_id).write(file)

    def import_(self, file: Path, mission_id: str = '') -> str:
        """
        Bring a mission in from a file; it comes into memory when it is needed.

        :param mission_id: its name here; empty: the one it had.
        :returns: its name here.
        :raises LfmError: ARCHIVE_INVALID, MISSION_EXISTS, STORAGE_FAILED and others.
        """
        with Archive(file, self.storage.vault) as archive:
            name, told = archive.name_here(mission_id, self._slots), archive.transcript
            self._check_place()
            if told.fingerprint == self.model.folder.fingerprint:
                archive.check_ids(self.model.vocabulary)
            try:
                self.storage.take_in(archive, name)
                self._doomed.discard(name)
                self._slots[name] = slot = Slot(name, len(told.ids), told.turn_count,
                                                self.storage.uptime)
                slot.stored = self.storage.newest([entry.digest for entry in told.entries])
            finally:
                self._collect()
        return name

    def unread(self, but: Container[str] = ()) -> Mission | None:
        """Return a mission in memory with something left to read, and not one of these."""
        return next((s.mission for s in self._slots.values() if s.mission and s.mission.unread
                     and s.mission_id not in but), None)

    def look_after(self, idle_seconds: float) -> None:
        """
        Do what is due: write what is not yet written, let go of what expired.

        :param idle_seconds: how long there was nothing to answer.
        """
        if self.storage.retry():
            for slot in self._slots.values():
                if slot.transcript:
                    slot.transcript.logged = 0
            self._find_missions()
        keeping, now = self.keeping, self.storage.uptime
        failed = False
        self._doomed = {name for name in self._doomed if not self.storage.delete(name)}
        for slot in list(self._slots.values()):
            if slot.mission_id in self.busy:
                continue  # it is in the middle of a turn, of which nothing may be kept
            if slot.unlogged and not failed:
                self._log_it(slot)
                failed = slot.unlogged
            if keeping.expire and now - slot.used > keeping.expire and \
                    not any(fnmatchcase(slot.mission_id, p) for p in keeping.never_expire):
                _log.info('a mission expired')
                self.discard(slot.mission_id)
            elif 0 < keeping.checkpoint_turns <= slot.unstored_turns or \
                    0 < keeping.checkpoint_idle <= idle_seconds:
                self._store(slot)
            self._prove(slot)
        if not (failed or self._doomed):
            self.storage.maintain()
        if self.model.vision:
            self.model.vision.look_after()

    def put_away(self) -> None:
        """Write all that is not yet on the disk, as far as it takes it."""
        for slot in self._slots.values():
            if slot.unlogged:
                self._log_it(slot)
            self._store(slot)
        self.storage.settle()

    def evict(self, mission_id: str) -> None:
        """Put a mission aside: its memory is free, it comes back when it is needed."""
        slot = self._slots[mission_id]
        mission = slot.mission
        if mission is None:
            return
        self._log_it(slot)
        self._store(slot)
        self.storage.settle()
        if slot.unlogged:  # the disk is full, say; a transcript is small
            slot.aside = Transcript(
                mission_id, mission.fingerprint, mission.ids, [], mission.calls + mission.unread,
                mission.entries, mission.slid, mission.logged)
        slot.mission = None

    def _find_missions(self) -> None:
        """Make places for the missions in the log that have none yet."""
        for summary in self.storage.log.list():
            if summary.mission_id not in self._slots and summary.mission_id not in self._doomed:
                slot = Slot(summary.mission_id, summary.tokens, summary.turns, summary.used)
                slot.stored = self.storage.newest(self.storage.log.digests(summary.mission_id))
                self._slots[summary.mission_id] = slot

    def _slot(self, mission_id: str) -> Slot:
        check_mission_id(mission_id)
        if mission_id not in self._slots:
            known = few(list(self._slots)) or 'none yet'
            raise LfmError(ErrorCode.UNKNOWN_MISSION, f"there is no mission '{mission_id}': the "
                           f'missions are {known}')
        return self._slots[mission_id]

    def _begin(self, mission_id: str, like: Mission, slot: Slot | None = None) -> Mission:
        self._free(like.nbytes, mission_id, like.mission_id)
        mission = like.fork(mission_id)
        if slot is None:
            slot = self._slots[mission_id] = Slot(mission_id, 0, 0, self.storage.uptime)
        slot.mission = mission
        slot.tokens, slot.turns = len(mission.ids), mission.turn_count
        slot.unstored_turns = slot.turns
        self._doomed.discard(mission_id)  # writing it replaces what the log has
        return mission

    def _bring_back(self, slot: Slot) -> Mission:
        found = slot.aside or self.storage.read(slot.mission_id)
        tokens = min(len(found.ids), self.model.context_length)
        self._free(self._blank.state.nbytes_at(tokens), slot.mission_id)
        if not found.entries:
            mission = self._blank.fork(slot.mission_id)
        elif found.fingerprint != self.model.folder.fingerprint or \
                len(found.ids) > self.model.context_length or \
                not 0 <= min(found.ids) <= max(found.ids) < self.model.vocabulary:
            mission = retell(found, self._blank)
            _log.warning("mission '%s' was told to another model or in a longer context: this "
                         'one reads its text again, %d of %d turns fit', slot.mission_id,
                         mission.turn_count, found.turn_count)
        else:
            mission = Mission.of(found, self.model, self.keeping.overflow)
            if mission.entries[0].digest == self._blank.digest:
                mission.adopt(self._blank)
            self.storage.restore(mission)
        mission.before_cut = self.storage.settle
        slot.mission, slot.aside = mission, None
        slot.tokens, slot.turns = len(mission.ids), mission.turn_count
        slot.unstored_turns = int(mission.pending > 0)
        return mission

    def _free(self, needed: int, *busy: str) -> None:
        """See that so many bytes more fit the budget."""
        room = self.keeping.room
        if not room or needed <= 0:
            return
        while self.nbytes + needed > room:
            if self.model.vision and self.model.vision.nbytes:
                self.model.vision.shrink(0)
                continue
            if self.model.has_grammars and self.model.grammars.shrink():
                continue
            others = [s for s in self._slots.values()
                      if s.mission and s.mission_id not in self.busy.union(busy)]
            if not others:
                raise LfmError(ErrorCode.OVER_BUDGET, f'this needs {in_mb(needed)} MB more and '
                               f'missions hold {in_mb(self.nbytes)} of {in_mb(room)} MB: ask for '
                               'fewer tokens, reset the mission, or raise memory.budget_mb')
            self.evict(min(others, key=lambda s: s.used).mission_id)

    def _log_it(self, slot: Slot) -> None:
        if found := slot.transcript:
            if slot.mission and found.logged < found.slid:
                # Nothing but a checkpoint can bring this state back, so it comes first.
                self._store(slot)
                self.storage.settle()
            self.storage.write(found, slot.used)

    def _store(self, slot: Slot) -> None:
        """Have the state of a mission written; what it has not read is read first."""
        slot.unstored_turns = 0
        mission = slot.mission
        if mission is None or not slot.unstored or self.storage.checkpoints is None:
            return
        try:
            mission.read_all()
        except Exception as error:  # the next turn will be answered with it
            _log.error('a mission cannot be read: %s', error)
            return
        self.storage.save(mission)
        slot.storing = mission.digest

    def _prove(self, slot: Slot) -> None:
        """See whether the last checkpoint has become whole; else it is to be written again."""
        # What the log on the disk needs stays as long as the log is behind.
        if slot.storing and not slot.unlogged and not self.storage.is_saving:
            whole = bool(self.storage.newest([slot.storing]))
            moved = slot.mission is not None and slot.mission.slid > 0
            if whole:
                slot.stored = slot.storing
            else:
                slot.unstored_turns = self.keeping.checkpoint_turns
            slot.storing = ''
            if whole and moved:
                self._collect()

    def _collect(self) -> None:
        slots = self._slots.values()
        self.storage.collect([self._blank.digest, *(s.stored for s in slots),
                              *(s.storing for s in slots)])

    def _describe(self, slot: Slot, now: float) -> MissionInfo:
        mission, stored, checkpoints = slot.mission, 0, self.storage.checkpoints
        if checkpoints:
            stored = checkpoints.size_of(slot.storing) or checkpoints.size_of(slot.stored)
        return MissionInfo(
            slot.mission_id, mission.turn_count if mission else slot.turns,
            len(mission.ids) if mission else slot.tokens, mission.pending if mission else 0,
            mission.nbytes if mission else 0, mission is not None, max(0.0, now - slot.used),
            stored)

    def _check_place(self) -> None:
        if len(self._slots) >= self.keeping.most:
            raise LfmError(ErrorCode.TOO_MANY_MISSIONS, f'there are {len(self._slots)} '
                           'missions: delete one or raise missions.max_count')
