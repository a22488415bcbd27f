# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The entries of a mission: its system prompt, observations and turns, in order."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import json

from lfm_ros.engine.chunks import BATCHED
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

HEAD = 'head'                # the system prompt, as the template puts it
OBSERVATION = 'observation'  # a line of the user message that the next question ends
TURN = 'turn'                # a question with its answer
RESULTS = 'results'          # what functions gave back that were called, with the answer to it
TURNS = (TURN, RESULTS)

LITTLE = np.dtype('<i4')


@dataclass(frozen=True)
class Entry:
    """
    A part of a mission that was committed whole.

    :param tokens: how many ids it added; ``chunk_count`` how many chunks they are read in.
    :param prompt: the text that came in, of RESULTS as :func:`to_prompt` writes it; ``text`` the
        answer with the calls in it. Of the HEAD: the system prompt, and the tools as JSON.
    :param sampling: how the answer was chosen, as JSON.
    :param images: that came in with the text, before it.
    :param time: of the commit, in seconds since 1970; the robot's clock may jump.
    :param parent: digest of the entry before; ``digest`` of all up to this one. Ids and chunks are
        in it, so it also names the state after this entry: missions with the same beginning share
        what is stored of it.
    """

    kind: str
    tokens: int
    chunk_count: int
    prompt: str = ''
    text: str = ''
    finish_reason: str = ''
    sampling: str = ''
    time: float = 0.0
    parent: str = ''
    digest: str = ''
    images: tuple[PreparedImage, ...] = ()

    def follows(self, entries: Sequence[Entry], ids: Sequence[int], chunk_sizes: Sequence[int]
                ) -> bool:
        """
        Return whether it is as it was written, and comes next in a mission.

        The entry after the head has another parent when oldest ones have left.
        """
        place = len(entries)
        return ((self.kind == HEAD) == (place == 0) and
                len(ids) == self.tokens == sum(map(abs, chunk_sizes)) and
                len(chunk_sizes) == self.chunk_count and
                all(size > 0 or size == BATCHED for size in chunk_sizes) and
                len(chunk_sizes) > 0 and
                (place == 1 or self.parent == (entries[-1].digest if entries else '')) and
                self.digest == digest_of(self.parent, self, ids, chunk_sizes))


def digest_of(parent: str, entry: Entry, ids: Sequence[int], chunk_sizes: Sequence[int]) -> str:
    """Return the digest of an entry that added these ids, to be read in chunks of these sizes."""
    texts = json.dumps([parent, entry.kind, entry.prompt, entry.text, entry.finish_reason,
                        *(image.digest for image in entry.images)])
    found = hashlib.sha256(texts.encode('ascii'))
    found.update(pack(ids))
    found.update(b'|')
    found.update(pack(chunk_sizes))
    return found.hexdigest()


def to_prompt(results: Sequence[ToolResult], prompt: str) -> str:
    """Return results of functions and the words behind them as one text."""
    return json.dumps({'tool_results': [{'name': r.name, 'content': r.content} for r in results],
                       'prompt': prompt}, ensure_ascii=False)


def from_prompt(text: str) -> tuple[list[ToolResult], str]:
    """
    Return what :func:`to_prompt` was given.

    :raises LfmError: ARCHIVE_INVALID, when it is something else: a log may be forged.
    """
    try:
        found = json.loads(text)
        return [ToolResult(**result) for result in found['tool_results']], found['prompt']
    except Exception as error:
        raise LfmError(ErrorCode.ARCHIVE_INVALID, 'tool results in the mission are damaged: '
                       'delete the mission') from error


def pack(numbers: Sequence[int]) -> bytes:
    """Return numbers as little-endian int32."""
    return np.asarray(numbers, LITTLE).tobytes()


def unpack(data: bytes) -> list[int]:
    """Return what :func:`pack` packed."""
    return np.frombuffer(data, LITTLE).tolist()
