# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An opened model: its session, tokenizer and template, checked against each other."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import logging
import math
from pathlib import Path
from typing import Any

from lfm_ros.engine.abilities import read_abilities
from lfm_ros.engine.abilities import write_abilities
from lfm_ros.engine.bindings import LONG_HISTORY
from lfm_ros.engine.bindings import OpenGraph
from lfm_ros.engine.calling import CallDialect
from lfm_ros.engine.embedder import Embedder
from lfm_ros.engine.folder import find_model
from lfm_ros.engine.folder import ModelFolder
from lfm_ros.engine.grammar_compiler import GrammarCompiler
from lfm_ros.engine.graph import GraphSignature
from lfm_ros.engine.graph import read_signature
from lfm_ros.engine.image_processor import ImageProcessor
from lfm_ros.engine.image_processor import ImageSettings
from lfm_ros.engine.opening_limit import limited
from lfm_ros.engine.opening_limit import opening_seconds
from lfm_ros.engine.rotary import Rotary
from lfm_ros.engine.rotary_probe import proved_rotary
from lfm_ros.engine.run_errors import SizesDisagree
from lfm_ros.engine.runner import Runner
from lfm_ros.engine.runs import Runs
from lfm_ros.engine.sampling import recommended
from lfm_ros.engine.session import CPU
from lfm_ros.engine.session import open_session
from lfm_ros.engine.state import State
from lfm_ros.engine.template import ChatTemplate
from lfm_ros.engine.template_process import SHARED
from lfm_ros.engine.tokenizer import Tokenizer
from lfm_ros.engine.trials import probe
from lfm_ros.engine.vision import FOR_EVER
from lfm_ros.engine.vision import ImageTokens
from lfm_ros.engine.vision import Vision
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import onnxruntime

_log = logging.getLogger(__name__)

END_TOKENS = ('<|im_end|>', '<|endoftext|>')
DEFAULT_CONTEXT = 4096
WARM_UP = 17  # tokens: as few as use the kernels for many
# A graph beside the decoder that reads many tokens at once, see lfm_ros.prepare.
PREFILL_GRAPH = 'prefill.onnx'
# Names of prepared graphs.
DECODER_GRAPH, EMBEDDING_GRAPH, VISION_GRAPH = 'model.onnx', 'embedding.onnx', 'vision.onnx'


@dataclass(frozen=True)
class ModelOptions:
    """
    How to open a model.

    :param variant: which graph of the folder; empty chooses what a CPU runs best.
    :param providers: ONNX Runtime execution providers, the preferred one first.
    :param threads: threads inside one operator; 0: one per core.
    :param context_length: most tokens of one mission; 0: as many as the model was made for.
    :param prefill_chunk: tokens that are read in one call. Logits of a whole prompt would take
        262 KB per token (LFM2), so it is read in pieces; their size hardly changes the speed.
    :param prompt_lookup: guess the next tokens of an answer from what stood in the mission before,
        and check several of them in one call.
    :param preload_formats: be ready for answers of a form when missions begin; else at the first.
    :param prepared: folder with the graphs of this model made ready for this machine, as
        :func:`lfm_ros.prepare.cache.ready` gives it; None: the model's own are opened.
    :param spinning: let threads wait for work without giving up their core, see
        :func:`lfm_ros.engine.session.open_session`.
    :param arena: keep the memory of a call for the next one, and that of a prompt until it is
        read; without, prompts are read more slowly.
    :param fallback: run on the next of ``providers``, and in the end on the CPU, when one cannot
        be used, see :func:`lfm_ros.engine.providers.open_on_best`.
    :param run_timeout: seconds that one call of an open model may take, see
        :class:`lfm_ros.missions.watchdog.Watchdog`; 0: for ever.
    :param image_variant: which vision encoder of the folder; empty: 8 bits, else the full one.
    :param image_tokens: most tokens of one image; 0: as many as the model was made for.
    :param image_tiling: whether large images are cut into tiles, where the model does that.
    :param encoder_keep_alive: seconds for which the vision encoder stays in memory after its last
        use; negative: always.
    """

    variant: str = ''
    providers: Sequence[str] = (CPU,)
    threads: int = 0
    context_length: int = DEFAULT_CONTEXT
    prefill_chunk: int = 64
    prompt_lookup: bool = True
    preload_formats: bool = False
    prepared: Path | None = None
    spinning: bool = True
    arena: bool = True
    fallback: bool = True
    run_timeout: float = 60.0
    image_variant: str = ''
    image_tokens: int = 0
    image_tiling: bool = True
    encoder_keep_alive: float = FOR_EVER


class Model:
    """
    A model that is ready to run.

    :param speaks: whether a tokenizer and a chat template are needed; without, only ids can be
        run.
    :ivar runs: makes the calls of all its graphs.
    """

    def __init__(self, path: str | Path | ModelFolder, options: ModelOptions = ModelOptions(),
                 speaks: bool = True) -> None:
        self.options = options
        self.runs = Runs()
        if speaks:
            SHARED.start()  # it starts while the graph is opened
        self.folder = path if isinstance(path, ModelFolder) else \
            find_model(path, options.variant, options.image_variant)
        self._tokenizer: Tokenizer | None = None
        self._template: ChatTemplate | None = None
        self._embedder: Embedder | None = None
        files = [p for p in self.folder.files if p.is_file()]
        try:
            with limited(opening_seconds(files), f'the model {self.folder.root}', self._end_run):
                self._load(speaks)
        except MemoryError as error:
            raise LfmError(ErrorCode.OUT_OF_MEMORY, f'there is not enough memory for the model '
                           f'{self.folder.root}: use a smaller one, or a shorter '
                           'model.context_length') from error

    def _load(self, speaks: bool) -> None:
        """Open all parts of the folder."""
        # The second try is outside of the handler, whose error holds the first session.
        opened = self._open() or self._open(reuse=False)
        assert opened, 'without reuse of memory, sizes cannot disagree'
        self.session, self.signature, self.runner = opened
        self.context_length = self.runner.limit
        self.vocabulary = self.runner.vocabulary
        if not math.isfinite(self.runner.run(self.new_state(), [0]).max()):
            raise LfmError(ErrorCode.MODEL_DAMAGED, f'{self.folder.graph} gives logits that are '
                           'no numbers, its weights are damaged: copy all its files again')
        self._check_vocabulary(self.folder.text_config.get('vocab_size'), 'config.json')
        if speaks or self.folder.file('tokenizer.json'):
            self._tokenizer = Tokenizer.open(self.folder, self.runs)
            self._check_vocabulary(self._tokenizer.size, 'the tokenizer')
        if speaks:
            self._template = ChatTemplate.open(self.folder, self.tokenizer)
        self.vision = self._open_vision()
        self.sampling = recommended(self.folder.generation, self.model_type)
        self.end_ids = self._end_ids()

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.folder.name

    @property
    def model_type(self) -> str:
        """Architecture, as config.json or genai_config.json names it; empty if neither does."""
        return str(self.folder.config.get('model_type')
                   or self.folder.genai.get('model', {}).get('type', ''))

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; missing only where the model was opened without one."""
        if self._tokenizer is None:
            raise LfmError(ErrorCode.TOKENIZER_INVALID, f'{self.folder.root} has no '
                           'tokenizer.json: copy the tokenizer of the model into it')
        return self._tokenizer

    @property
    def template(self) -> ChatTemplate:
        """The chat template; missing only where the model was opened without one."""
        assert self._template is not None, 'open the model with speaks=True'
        return self._template

    @cached_property
    def rotary(self) -> Rotary:
        """
        What turns keys when a state slides; the first access runs the model to prove it.

        :raises LfmError: UNSUPPORTED, at every access, when its keys cannot be turned.
        """
        return proved_rotary(self.folder, self.runner)

    @cached_property
    def calling(self) -> CallDialect | None:
        """How it calls functions; None: it was not made for that."""
        return CallDialect.find(self.tokenizer)

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """
        What compiles the grammars of its answers, in processes of their own.

        :raises LfmError: UNSUPPORTED, when the library for that is missing.
        """
        return GrammarCompiler(self.tokenizer.to_json(), self.vocabulary, self.end_ids)

    @property
    def has_grammars(self) -> bool:
        """Whether :attr:`grammars` is there already."""
        return 'grammars' in self.__dict__

    @property
    def image_id(self) -> int | None:
        """The id that stands for a piece of an image; None: the model reads text only."""
        return self.vision.tokens.image if self.vision else None

    def sight(self) -> Vision:
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

    def chunks(self, ids: Sequence[int]) -> list[Sequence[int]]:
        """Cut ids into the calls in which they are read."""
        size = min(self.options.prefill_chunk, self.runner.longest_call)
        return [ids[i:i + size] for i in range(0, len(ids), size)]

    def close(self) -> None:
        """End the processes that belong to it; its memory goes with the last reference to it."""
        if self.has_grammars:
            self.grammars.close()
            del self.grammars

    def warm_up(self) -> None:
        """Run once in both shapes that matter, so that the first request finds weights ready."""
        state = self.new_state()
        for chunk in self.chunks([0] * min(WARM_UP, self.context_length - 1)):
            self.runner.run(state, chunk)
        self.runner.run(state, [0])

    def stretch(self) -> None:
        """Run where a call needs most memory: at the end of a context, or of what is special."""
        size = min(self.options.prefill_chunk, self.runner.longest_call, self.context_length)
        ends = {self.context_length}
        if self.signature.long:
            ends.add(min(LONG_HISTORY, self.context_length))
        for end in ends:
            state = self.new_state()
            state.set_position_unchecked(end - size)
            self.runner.run(state, [0] * size)

    def describe(self) -> dict[str, Any]:
        """Return what `lfm inspect` and the service ~/model_info tell."""
        sig = self.signature
        return {
            'name': self.name, 'path': str(self.folder.root),
            'graph': str(self.folder.graph.relative_to(self.folder.root)),
            'model_type': self.model_type,
            'dialect': sig.dialect, 'providers': self.session.get_providers(),
            'context_length': self.context_length, 'vocabulary': self.vocabulary,
            'conv_layers': len(sig.conv), 'attention_layers': len(sig.key_value) // 2,
            'conv_columns': sig.conv[0].shape[2] if sig.conv else 0,
            'state_dtypes': sorted({str(t.dtype) for t in sig.states}),
            'state_bytes_fixed': sum(t.row_bytes for t in sig.conv),
            'state_bytes_token': sum(t.row_bytes for t in sig.key_value),
            'shared_kv': self.runner.shared,
            'reads_in_chunks': self.runner.longest_call > 1, 'position_ids': bool(sig.positions),
            'head_pruned': self.runner.head_pruned, 'prepared': self.options.prepared is not None,
            'prompt_lookup': self.options.prompt_lookup and self.runner.can_take_back,
            'answers_together': max(1, self.runner.company_size),
            'vision': self.vision is not None,
            'image_tokens': self.vision.processor.settings.max_image_tokens if self.vision else 0,
            'image_tiles': self.vision.processor.settings.most_tiles if self.vision else 0,
            'files': {str(p.relative_to(self.folder.root)): p.stat().st_size
                      for p in self.folder.files},
            'fingerprint': self.folder.fingerprint,
        }

    def _end_run(self, _: LfmError) -> None:
        """End the run in progress, for whom opening takes too long."""
        if run := self.runs.current:
            run.interrupt.end_overdue(run.seconds)

    def _open(self, reuse: bool = True
              ) -> tuple[onnxruntime.InferenceSession, GraphSignature, Runner] | None:
        """Open and try the graph; None when it must be opened without reuse of memory."""
        graph = self._open_decoder(self.folder.graph, DECODER_GRAPH, reuse)
        signature = graph.signature
        embedder = self._embedder = self._open_embedder(signature) if signature.hidden else None
        beside = self.folder.graph.with_name(PREFILL_GRAPH)
        prefill = self._open_decoder(beside, PREFILL_GRAPH, reuse) if beside.is_file() else None
        kept, session = self.options.prepared, self._describe_session(graph.session, reuse)
        known = read_abilities(kept, session) if kept else None
        try:
            runner = Runner(graph, self._context_length(), embedder, prefill, self.runs,
                            self.options.arena and list(self.options.providers) == [CPU], known)
            if not known:
                probe(runner)
        except SizesDisagree:
            if reuse:
                return None
            raise
        if kept and not known:
            write_abilities(kept, session, runner.abilities)
        return graph.session, signature, runner

    def _describe_session(self, session: onnxruntime.InferenceSession, reuse: bool) -> str:
        """Return on what abilities depend, of the same files, machine and ONNX Runtime."""
        return f'threads {self.options.threads}, reuse {reuse}, ' \
            f'values {len(session.get_inputs())} {len(session.get_outputs())}'

    def _open_decoder(self, path: Path, name: str, reuse: bool) -> OpenGraph:
        session = self._open_graph(path, name, reuse)
        return OpenGraph(session, read_signature(
            session.get_inputs(), session.get_outputs(), self.folder.text_config,
            self.folder.genai))

    def _open_graph(self, path: Path, name: str, reuse: bool = True,
                    arena: bool = True) -> onnxruntime.InferenceSession:
        """
        Open a graph of the folder, or what was prepared of it.

        :param name: of the prepared graph.
        """
        options = self.options
        arena = arena and options.arena
        if options.prepared and (options.prepared / name).is_file():
            try:
                return open_session(options.prepared / name, options.providers, options.threads,
                                    reuse, arena, prepacked=True, spinning=options.spinning)
            except LfmError as error:  # another process has just deleted it, say
                _log.warning(f'{path.name} is opened as it is, without what was prepared of it '
                             f'({error.message})')
        return open_session(path, options.providers, options.threads, reuse, arena,
                            spinning=options.spinning)

    def _open_embedder(self, signature: GraphSignature) -> Embedder:
        if self.folder.embedding is None:
            raise LfmError(ErrorCode.WEIGHTS_MISSING, f'{self.folder.graph.name} takes embeddings '
                           f'and there is no embed_tokens.onnx or embeddings.onnx in '
                           f'{self.folder.root}: copy all graphs of the model')
        session = self._open_graph(self.folder.embedding, EMBEDDING_GRAPH)
        return Embedder(session, signature.hidden, signature.ids_dtype, self._image_token(),
                        self.runs)

    def _image_token(self) -> int:
        """Return the id that stands for a piece of an image, -1 if no file tells."""
        for settings in (self.folder.config, self.folder.genai.get('model', {})):
            for name in ('image_token_id', 'image_token_index'):
                if type(settings.get(name)) is int:
                    return int(settings[name])
        return -1

    def _open_vision(self) -> Vision | None:
        graph, options = self.folder.vision, self.options
        if not self.signature.hidden or graph is None or self._tokenizer is None:
            return None
        settings = ImageSettings.read(self.folder)
        tokens = ImageTokens(self._tokenizer, ImageProcessor(settings).grids())
        if self._image_token() not in (-1, tokens.image):
            raise LfmError(ErrorCode.VOCABULARY_MISMATCH, f'config.json says that images are '
                           f'{self._image_token()} but the tokenizer calls {tokens.image} '
                           '<image>: take both from the same export')
        if self._embedder:
            self._embedder.image_id = tokens.image
        limited = settings.limited(options.image_tokens, options.image_tiling)
        return Vision(lambda: self._open_graph(graph, VISION_GRAPH, arena=False),
                      ImageProcessor(limited), tokens, settings.most_patches,
                      self.signature.hidden, options.encoder_keep_alive, self.runs)

    def _context_length(self) -> int:
        most = (self.folder.genai.get('model', {}).get('context_length')
                or self.folder.text_config.get('max_position_embeddings') or DEFAULT_CONTEXT)
        wanted = self.options.context_length or most
        if min(wanted, most) < 16:
            raise LfmError(ErrorCode.INVALID_VALUE,
                           f'a context of {min(wanted, most)} tokens holds no conversation: set '
                           f'model.context_length to 16 or more, or to 0 for {most}')
        return min(wanted, most)

    def _check_vocabulary(self, size: int | None, where: str) -> None:
        # Graphs may have rows to spare (Qwen3: 151,936 rows for 151,669 tokens), never too few.
        if size and not 0.9 * self.vocabulary <= size <= self.vocabulary:
            raise LfmError(ErrorCode.VOCABULARY_MISMATCH, f'{where} has {size} tokens but '
                           f'{self.folder.graph.name} has {self.vocabulary}: take both from '
                           'the same export')

    def _end_ids(self) -> frozenset[int]:
        found: set[int] = set()
        for settings in (self.folder.genai.get('model', {}), self.folder.generation,
                         self.folder.config, self.folder.text_config):
            value = settings.get('eos_token_id')
            values = value if isinstance(value, list) else [value]
            found.update(i for i in values if type(i) is int and 0 <= i < self.vocabulary)
        if self._tokenizer:
            ids = [*map(self._tokenizer.id_of, END_TOKENS)]
            if self._template:
                ids.append(self._template.frame.answer_close[0])
            found.update(i for i in ids if i in self._tokenizer.control_ids)
        return frozenset(found)
