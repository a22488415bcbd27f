# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An open model: what missions, requests and tools use of it."""
from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lfm_ros.cpu import pin_thread
from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.grammar.compiler import GrammarCompiler
from lfm_ros.engine.model_info import describe_model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.model_settings import read_model_type
from lfm_ros.engine.opening import open_parts
from lfm_ros.engine.runtime.bindings import LONG_CONTEXT
from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.execution_provider import is_device
from lfm_ros.engine.runtime.ort_runs import OrtRuns
from lfm_ros.engine.runtime.rotary import Rotary
from lfm_ros.engine.runtime.rotary_probe import proved_rotary
from lfm_ros.engine.runtime.state import State
from lfm_ros.engine.sampling import default_sampling
from lfm_ros.engine.text.chat_template import ChatTemplate
from lfm_ros.engine.text.template_process import SHARED
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.engine.text.tool_format import ToolCallFormat
from lfm_ros.engine.vision.encoder import VisionEncoder
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

WARM_UP = 17  # tokens: as few as use the kernels for many


class Model:
    """
    A model that is ready to run.

    :param path: of its folder or graph, see :func:`lfm_ros.engine.files.folder.find_model`.
    :param with_text: whether a tokenizer and a chat template are needed; without, only ids can be
        run.
    :ivar runs: makes the runs of all its graphs.
    :ivar session: of its decoder, which has this ``signature`` and is run by ``runner``.
    :ivar context_length: most tokens of one mission.
    :ivar vocabulary: logits of one row.
    :ivar vision: its vision encoder; None: it reads text only.
    :ivar sampling: how it was made to choose tokens.
    :ivar end_ids: ids that end an answer.
    :raises LfmError: when it cannot be opened, or cannot run.
    """

    def __init__(self, path: str | Path | ModelFolder, options: ModelOptions = ModelOptions(),
                 with_text: bool = True) -> None:
        self.options = options
        self.runs = OrtRuns()
        if with_text:
            SHARED.start()  # it starts while the graph is opened
        self.folder = path if isinstance(path, ModelFolder) else \
            find_model(path, options.variant, options.image_variant,
                       is_device(options.providers))
        self._parts = parts = open_parts(self.folder, options, self.runs, with_text)
        self.session = parts.decoder.session
        self.signature = parts.decoder.signature
        self.runner = parts.decoder.runner
        self.context_length = self.runner.limit
        self.vocabulary = self.runner.vocabulary
        self.vision = parts.vision
        self.sampling = default_sampling(self.folder.generation, self.model_type)
        self.end_ids = parts.end_ids

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.folder.name

    @property
    def model_type(self) -> str:
        """Architecture, as config.json or genai_config.json names it; empty if neither does."""
        return read_model_type(self.folder)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; missing only where the model was opened without one."""
        if self._parts.tokenizer is None:
            raise LfmError(ErrorCode.TOKENIZER_INVALID, f'{self.folder.root} has no '
                           'tokenizer.json: copy the tokenizer of the model into it')
        return self._parts.tokenizer

    @property
    def template(self) -> ChatTemplate:
        """The chat template; missing only where the model was opened without one."""
        assert self._parts.template is not None, 'open the model with with_text=True'
        return self._parts.template

    @cached_property
    def rotary(self) -> Rotary:
        """
        Rotates keys when a state slides; the first access runs the model to prove it.

        :raises LfmError: UNSUPPORTED, at every access, when its keys cannot be rotated.
        """
        return proved_rotary(self.folder, self.runner)

    @cached_property
    def tool_format(self) -> ToolCallFormat | None:
        """How it calls functions; None: it was not made for that."""
        return ToolCallFormat.find(self.tokenizer)

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """
        Compiles the grammars of its answers, in processes of their own.

        :raises LfmError: UNSUPPORTED, when the library for that is missing.
        """
        return GrammarCompiler(self.tokenizer.to_json(), self.vocabulary, self.end_ids)

    @property
    def grammar_engine_loaded(self) -> bool:
        """Whether :attr:`grammars` was made already."""
        return 'grammars' in self.__dict__

    @property
    def image_id(self) -> int | None:
        """The id of ``<image>`` tokens; None: the model reads text only."""
        return self.vision.tokens.image if self.vision else None

    def require_vision(self) -> VisionEncoder:
        """
        Return the vision encoder.

        :raises LfmError: NO_VISION.
        """
        if self.vision is None:
            missing = ', its vision encoder is missing: copy all graphs of the model' \
                if self.signature.hidden else \
                ': send no images and no use_camera, or set model.path to an LFM2-VL'
            raise LfmError(ErrorCode.NO_VISION, f'{self.name} reads text only{missing}')
        return self.vision

    def new_state(self) -> State:
        """Return a state at position 0."""
        return self.runner.new_state()

    @property
    def chunk_size(self) -> int:
        """Tokens of a prompt that are read in one run."""
        return min(self.options.prefill_chunk or self.runner.prefill_chunk,
                   self.runner.max_run_tokens)

    @property
    def lost(self) -> LfmError | None:
        """Why its device does no more work for this process; None: it does."""
        return self.runs.lost or self.memory.lost

    @property
    def memory(self) -> HostMemory:
        """Where states are that can be run."""
        return self.runner.memory

    def chunks(self, ids: Sequence[int]) -> list[Sequence[int]]:
        """Cut ids into the chunks that are read in one run each."""
        size = self.chunk_size
        return [ids[i:i + size] for i in range(0, len(ids), size)]

    def close(self) -> None:
        """End the processes that belong to it; its memory goes with the last reference to it."""
        if self.grammar_engine_loaded:
            self.grammars.close()
            del self.grammars

    def warm_up(self) -> None:
        """
        Run once in both shapes that matter, so that the first request finds weights ready.

        Call it in the thread that will run the model: it is kept on ``options.cores``.
        """
        pin_thread(self.options.cores)
        state = self.new_state()
        for chunk in self.chunks([0] * min(WARM_UP, self.context_length - 1)):
            self.runner.run(state, chunk)
        self.runner.run(state, [0])

    def probe_peak_memory(self) -> None:
        """Make the runs that need most memory: the last of the context and of long attention."""
        size = min(self.chunk_size, self.context_length)
        ends = {self.context_length}
        if self.signature.long:
            ends.add(min(LONG_CONTEXT, self.context_length))
        for end in ends:
            state = self.new_state()
            state.set_position_unchecked(end - size)
            self.runner.run(state, [0] * size)

    def describe(self) -> dict[str, Any]:
        """Return what `lfm inspect` and the service ~/model_info show of it."""
        return describe_model(self.folder, self.options, self._parts)
