# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Open the graphs, tokenizer and chat template of a model, and check them against each other."""
from __future__ import annotations

from dataclasses import dataclass
import logging
import math
from pathlib import Path

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.files.graph_names import DECODER_GRAPH
from lfm_ros.engine.files.graph_names import EMBEDDING_GRAPH
from lfm_ros.engine.files.graph_names import PREFILL_GRAPH
from lfm_ros.engine.files.graph_names import VISION_GRAPH
from lfm_ros.engine.first_run import is_risky
from lfm_ros.engine.first_run import try_first_run
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.model_settings import choose_context_length
from lfm_ros.engine.model_settings import find_end_ids
from lfm_ros.engine.model_settings import read_image_id
from lfm_ros.engine.runtime.bindings import OpenGraph
from lfm_ros.engine.runtime.capabilities import read_capabilities
from lfm_ros.engine.runtime.capabilities import write_capabilities
from lfm_ros.engine.runtime.embedder import Embedder
from lfm_ros.engine.runtime.execution_provider import can_capture
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import memory_of
from lfm_ros.engine.runtime.execution_provider import require
from lfm_ros.engine.runtime.opening_limit import limited
from lfm_ros.engine.runtime.opening_limit import opening_seconds
from lfm_ros.engine.runtime.ort_errors import BufferReuseError
from lfm_ros.engine.runtime.ort_runs import OrtRuns
from lfm_ros.engine.runtime.probes import probe
from lfm_ros.engine.runtime.runner import Runner
from lfm_ros.engine.runtime.session import open_session
from lfm_ros.engine.runtime.signature import GraphSignature
from lfm_ros.engine.runtime.signature import read_signature
from lfm_ros.engine.text.chat_template import ChatTemplate
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.engine.vision.encoder import ImageTokens
from lfm_ros.engine.vision.encoder import VisionEncoder
from lfm_ros.engine.vision.image_processor import ImageProcessor
from lfm_ros.engine.vision.image_processor import ImageSettings
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import onnxruntime

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenDecoder:
    """
    The decoder of a model, open in ONNX Runtime and probed.

    :param embedder: None: the decoder takes ids.
    """

    session: onnxruntime.InferenceSession
    signature: GraphSignature
    runner: Runner
    embedder: Embedder | None


@dataclass(frozen=True)
class ModelParts:
    """
    The opened parts of a model, which fit each other.

    :param tokenizer: None where the model was opened without text and has none.
    :param template: None where the model was opened without text.
    :param vision: None: the model reads text only.
    :param end_ids: ids that end an answer.
    """

    decoder: OpenDecoder
    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    vision: VisionEncoder | None
    end_ids: frozenset[int]


def open_parts(folder: ModelFolder, options: ModelOptions, runs: OrtRuns,
               with_text: bool = True) -> ModelParts:
    """
    Open all parts of a model; where that takes far too long, the process ends.

    :param runs: makes the runs of all graphs.
    :param with_text: whether a tokenizer and a chat template are needed.
    :raises LfmError: OUT_OF_MEMORY, and what is wrong with one of the parts.
    """
    def end_run(_: LfmError) -> None:
        if run := runs.current:
            run.cancel_token.end_overdue(run.seconds)

    files = [p for p in folder.files if p.is_file()]
    try:
        with limited(opening_seconds(files), f'the model {folder.root}', end_run):
            return _Opener(folder, options, runs).open(with_text)
    except MemoryError as error:
        raise LfmError(ErrorCode.OUT_OF_MEMORY, f'there is not enough memory for the model '
                       f'{folder.root}: use a smaller one, or a shorter '
                       'model.context_length') from error


class _Opener:
    """Opens the parts of one model, see :func:`open_parts`."""

    def __init__(self, folder: ModelFolder, options: ModelOptions, runs: OrtRuns) -> None:
        self._folder = folder
        self._options = options
        self._runs = runs
        require(options.providers, options.provider_options)
        self._memory = memory_of(options.providers, options.provider_options)

    def open(self, with_text: bool) -> ModelParts:
        """Open all parts of the folder."""
        folder = self._folder
        # The second try is outside of the handler, whose error holds the first session.
        decoder = self._open_decoder() or self._open_decoder(reuse=False)
        assert decoder, 'without reuse of memory, sizes cannot disagree'
        self._check_logits(decoder.runner)
        vocabulary = decoder.runner.vocabulary
        self._check_vocabulary(vocabulary, folder.text_config.get('vocab_size'), 'config.json')
        tokenizer = template = None
        if with_text or folder.file('tokenizer.json'):
            tokenizer = Tokenizer.open(folder, self._runs)
            self._check_vocabulary(vocabulary, tokenizer.size, 'the tokenizer')
            if with_text:
                template = ChatTemplate.open(folder, tokenizer)
        vision = self._open_vision(decoder, tokenizer) if tokenizer else None
        return ModelParts(decoder, tokenizer, template, vision,
                          find_end_ids(folder, vocabulary, tokenizer, template))

    def _open_decoder(self, reuse: bool = True) -> OpenDecoder | None:
        """Open and probe the decoder; None: it must be opened without reuse of memory."""
        folder, options = self._folder, self._options
        graph = self._open_capturing(reuse) or self._open_graph(
            folder.graph, DECODER_GRAPH, reuse)
        embedder = self._open_embedder(graph.signature) if graph.signature.hidden else None
        beside = folder.graph.with_name(PREFILL_GRAPH)
        prefill = self._open_graph(beside, PREFILL_GRAPH, reuse) if beside.is_file() else None
        kept, session = options.prepared, self._describe_session(graph.session, reuse)
        known = read_capabilities(kept, session) if kept else None
        if not known and options.providers[0] == CPU and is_risky(graph.signature):
            try_first_run(folder)
        try:
            runner = Runner(graph, choose_context_length(folder, options.context_length),
                            embedder, prefill, self._runs,
                            options.arena and list(options.providers) == [CPU], known,
                            options.max_batch_size)
            if not known:
                probe(runner)
        except BufferReuseError:
            if reuse:
                return None
            raise
        if kept and not known:
            write_capabilities(kept, session, runner.capabilities)
        return OpenDecoder(graph.session, graph.signature, runner, embedder)

    def _describe_session(self, session: onnxruntime.InferenceSession, reuse: bool) -> str:
        """Return on what capabilities depend, of the same files, machine and ONNX Runtime."""
        options = self._options
        elsewhere = '' if list(options.providers) == [CPU] else \
            f'{session.get_providers()} {sorted(options.provider_options.items())}, ' \
            f'{options.max_batch_size} lanes, '
        return f'{elsewhere}threads {options.threads}, reuse {reuse}, ' \
            f'values {len(session.get_inputs())} {len(session.get_outputs())}'

    def _open_graph(self, path: Path, name: str, reuse: bool, capture: bool = False
                    ) -> OpenGraph:
        """Open a graph of the decoder; see :meth:`_open_session`."""
        session = self._open_session(path, name, reuse, capture=capture)
        return OpenGraph(session, read_signature(
            session.get_inputs(), session.get_outputs(), self._folder.text_config,
            self._folder.genai), self._memory, capture)

    def _open_capturing(self, reuse: bool) -> OpenGraph | None:
        """Open the decoder so that its runs can be captured; None: that cannot be done."""
        options, path = self._options, self._folder.graph
        if not can_capture(options.providers, options.provider_options):
            return None
        try:
            return self._open_graph(path, DECODER_GRAPH, reuse, capture=True)
        except LfmError as error:
            if error.code != ErrorCode.UNSUPPORTED:
                raise
            # A node of it runs on the CPU, say.
            _log.info(f'runs of {path.name} are not captured ({error.message})')
            return None

    def _open_session(self, path: Path, name: str, reuse: bool = True,
                      arena: bool = True, capture: bool = False
                      ) -> onnxruntime.InferenceSession:
        """
        Open a graph of the folder, or the graph that was prepared from it.

        :param name: of the prepared graph.
        :param reuse: let operators share memory within a run.
        :param arena: keep the memory of a run for the next one, where the options do.
        :param capture: let a GPU capture runs and replay them.
        """
        options = self._options

        def open_graph(file: Path, prepacked: bool) -> onnxruntime.InferenceSession:
            return open_session(file, options.providers, options.threads, reuse,
                                arena and options.arena, prepacked, options.spinning,
                                options.provider_options, capture, options.cores)

        if options.prepared and (options.prepared / name).is_file():
            try:
                return open_graph(options.prepared / name, True)
            except LfmError as error:  # another process has just deleted it, say
                if capture and error.code == ErrorCode.UNSUPPORTED:
                    raise
                _log.warning(f'{path.name} is opened as it is, without what was prepared of it '
                             f'({error.message})')
        return open_graph(path, False)

    def _open_embedder(self, signature: GraphSignature) -> Embedder:
        if self._folder.embedding is None:
            raise LfmError(ErrorCode.WEIGHTS_MISSING, f'{self._folder.graph.name} takes '
                           'embeddings and there is no embed_tokens.onnx or embeddings.onnx in '
                           f'{self._folder.root}: copy all graphs of the model')
        session = self._open_session(self._folder.embedding, EMBEDDING_GRAPH)
        return Embedder(session, signature.hidden, signature.ids_dtype,
                        read_image_id(self._folder), self._runs)

    def _open_vision(self, decoder: OpenDecoder, tokenizer: Tokenizer) -> VisionEncoder | None:
        """Open the vision encoder, if there is one and the decoder takes embeddings."""
        graph, options, embedder = self._folder.vision, self._options, decoder.embedder
        if embedder is None or graph is None:
            return None
        settings = ImageSettings.read(self._folder)
        tokens = ImageTokens(tokenizer, ImageProcessor(settings).grids())
        if read_image_id(self._folder) not in (-1, tokens.image):
            raise LfmError(ErrorCode.VOCABULARY_MISMATCH, 'config.json says that images are '
                           f'{read_image_id(self._folder)} but the tokenizer calls '
                           f'{tokens.image} <image>: take both from the same export')
        embedder.image_id = tokens.image
        limited_settings = settings.limited(options.image_tokens, options.image_tiling)
        return VisionEncoder(lambda: self._open_session(graph, VISION_GRAPH, arena=False),
                             ImageProcessor(limited_settings), tokens, settings.max_patches,
                             decoder.signature.hidden, options.encoder_keep_alive, self._runs,
                             ImageSettings.source(self._folder))

    def _check_logits(self, runner: Runner) -> None:
        if not math.isfinite(runner.run(runner.new_state(), [0]).max()):
            raise LfmError(ErrorCode.MODEL_DAMAGED, f'{self._folder.graph} produces NaN or '
                           'infinite logits, its weights are damaged: copy all its files again')

    def _check_vocabulary(self, vocabulary: int, size: int | None, where: str) -> None:
        # Graphs may have rows to spare (Qwen3: 151,936 rows for 151,669 tokens), never too few.
        if size and not 0.9 * vocabulary <= size <= vocabulary:
            raise LfmError(ErrorCode.VOCABULARY_MISMATCH, f'{where} has {size} tokens but '
                           f'{self._folder.graph.name} has {vocabulary}: take both from '
                           'the same export')
