# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Find the files of a model in a folder, whichever tool exported it."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
import hashlib
import os
from pathlib import Path
from typing import Any

from lfm_ros.engine.files.graph_check import check_inside
from lfm_ros.engine.files.graph_check import external_files
from lfm_ros.engine.files.model_file import damaged
from lfm_ros.engine.files.model_file import open_regular
from lfm_ros.engine.files.model_file import read_settings
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError

DEMO = 'demo'
DEMO_FOLDER = Path(__file__).resolve().parents[2] / 'models' / DEMO

# Names of weight formats (transformers.js 4.3, src/utils/dtypes.js) in the order in which a CPU
# prefers them: there are no fp16 matrix kernels on the CPU provider, so those come last.
VARIANT_SUFFIXES = {
    'q4': ('_q4',), 'q8': ('_quantized', '_q8'), 'int8': ('_int8',), 'uint8': ('_uint8',),
    'fp32': ('',), 'q4f16': ('_q4f16',), 'fp16': ('_fp16',), 'bnb4': ('_bnb4',), 'q2': ('_q2',),
    'q1': ('_q1',),
}
# What transformers writes beside chat_template.jinja.
TOOL_TEMPLATE = 'additional_chat_templates/tool_use.jinja'
GRAPH_STEMS = ('model', 'decoder_model_merged', 'decoder')
# The other graphs of a vision-language model; what LiquidAI, onnx-community and genai call them.
EMBEDDING_STEMS = ('embed_tokens', 'embeddings', 'embedding')
VISION_STEMS = ('vision_encoder', 'embed_images', 'vision')
# Folders in which an export has the graphs of one model.
_PART_FOLDERS = frozenset((*GRAPH_STEMS[1:], *EMBEDDING_STEMS, *VISION_STEMS, 'text'))
# An encoder in 4 bits sees badly (Liquid4All/onnx-export), so those come last.
VISION_VARIANTS = ('q8', 'fp32', 'fp16', 'uint8', 'int8', 'q4', 'q4f16', 'bnb4', 'q2', 'q1')
# GPUs have no kernels for products of 8 bits: the CPU would compute these.
_DEVICE_VARIANTS = list(dict.fromkeys(('q4f16', 'q4', 'fp16', 'fp32', *VARIANT_SUFFIXES)))
_DEVICE_VISION_VARIANTS = list(dict.fromkeys(('fp16', 'fp32', 'q4f16', 'q4', *VISION_VARIANTS)))

# The settings that are read here and what they must be.
_TYPES: dict[str, type] = {
    **dict.fromkeys(('text_config', 'model', 'decoder', 'vision', 'embedding'), dict),
    'filename': str,
    **dict.fromkeys(('vocab_size', 'hidden_size', 'head_dim', 'head_size', 'num_attention_heads',
                     'num_key_value_heads', 'conv_L_cache', 'context_length',
                     'max_position_embeddings'), int)}

_MAX_NUMBER = 1 << 31  # of these numbers
_DEEPEST = 8  # settings of models inside of each other; there are three
_SAMPLE_ABOVE = 16 << 20
_SAMPLE_BLOCKS = 64
_SAMPLE_BYTES = 64 << 10


@dataclass(frozen=True)
class ModelFolder:
    """
    The files of one exported model.

    :param root: folder that holds config and tokenizer.
    :param graph: the ONNX file to run.
    :param embedding: of a vision-language model, the one that gives embeddings of ids; ``vision``
        the one that gives features of images.
    """

    root: Path
    graph: Path
    config: dict[str, Any] = field(default_factory=dict)
    genai: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    embedding: Path | None = None
    vision: Path | None = None

    @property
    def name(self) -> str:
        """Name of the model: the name of its folder, or of its repository in a hub's cache."""
        root = self.root.absolute()
        if root.parent.name == 'snapshots':
            return root.parent.parent.name.rpartition('--')[2]
        return root.name

    @property
    def text_config(self) -> dict[str, Any]:
        """Part of config.json that describes the language model."""
        return self.config.get('text_config') or self.config

    def file(self, name: str) -> Path | None:
        """
        Return the path of a file beside the config or beside the graph, if it exists.

        A path that exists and is no file is returned, too: reading it raises an error.
        """
        for folder in (self.root, self.graph.parent):
            if os.path.lexists(folder / name):
                return folder / name
        return None

    def read_json(self, name: str) -> dict[str, Any]:
        """Return a JSON object of the folder; empty when there is no such file."""
        path = self.file(name)
        return read_json(path) if path else {}

    @cached_property
    def files(self) -> list[Path]:
        """The files that the model is made of: graphs, their external data, tokenizer."""
        names = ['config.json', 'genai_config.json', 'tokenizer.json', 'tokenizer_config.json',
                 'chat_template.jinja', TOOL_TEMPLATE]
        graphs = [self.graph]
        if self.embedding:
            graphs += [self.embedding, *([self.vision] if self.vision else [])]
            names += ['preprocessor_config.json', 'processor_config.json']
        return [*(file for graph in graphs for file in (graph, *external_files(graph))),
                *(p for p in map(self.file, names) if p and p.is_file())]

    @cached_property
    def fingerprint(self) -> str:
        """
        SHA-256 in hex that changes when the model changes.

        Files above 16 MiB are sampled (both ends and 64 blocks of 64 KiB), so that a robot does
        not read a gigabyte twice at every start.

        :raises LfmError: MODEL_DAMAGED, when one of them cannot be read.
        """
        digest = hashlib.sha256()
        for path in self.files:
            try:
                size = path.stat().st_size
                digest.update(os.fsencode(f'{path.name}:{size}\n'))
                add_content(digest, path)
            except (OSError, ValueError) as error:
                raise LfmError(ErrorCode.MODEL_DAMAGED, f'{path} cannot be read ({error}): copy '
                               'the model folder again, or check its permissions') from error
        return digest.hexdigest()


def add_content(digest: Any, path: Path) -> None:
    """Add what is in a regular file to a digest of hashlib; of a large file only samples."""
    size = path.stat().st_size
    with open_regular(path) as stream:
        if size <= _SAMPLE_ABOVE:
            digest.update(stream.read())
            return
        for block in range(_SAMPLE_BLOCKS):
            stream.seek((size - _SAMPLE_BYTES) * block // (_SAMPLE_BLOCKS - 1))
            digest.update(stream.read(_SAMPLE_BYTES))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise MODEL_DAMAGED where the file holds none."""
    return _checked(path, read_settings(path))


def _checked(path: Path, settings: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Refuse settings of another type than is known; null is the same as nothing."""
    if depth > _DEEPEST:
        raise damaged(path, 'models are nested too deeply')
    settings = {name: value for name, value in settings.items() if value is not None}
    for name, value in settings.items():
        known = _TYPES.get(name)
        if known and type(value) is not known or known is int and not 0 <= value < _MAX_NUMBER:
            raise LfmError(ErrorCode.MODEL_DAMAGED, f'{path} cannot be used, its {name} is '
                           f'{_shown(value)}: copy the model folder again')
        if known is dict:
            settings[name] = _checked(path, value, depth + 1)
    return settings


def _shown(value: Any) -> str:
    """Return a setting for an error: a list may be nested deeply, a number have many digits."""
    return f'{value!r:.80}' if isinstance(value, (str, float, bool)) else \
        str(value) if isinstance(value, int) and abs(value) < 1 << 64 else \
        'too large a number' if isinstance(value, int) else f'a {type(value).__name__}'


def find_model(path: str | Path, variant: str = '', image_variant: str = '',
               on_device: bool = False) -> ModelFolder:
    """
    Find the graph and the settings of a model.

    :param path: a folder (of onnxruntime-genai, or of onnx-community with its ``onnx`` folder),
        an ``.onnx`` file, or ``demo``.
    :param variant: which graph, where there are several: ``q4``, ``q8``, ``fp32``, ``fp16``,
        ... or a file name; empty chooses what a CPU or a device runs best.
    :param image_variant: likewise, of the vision encoder.
    :param on_device: whether a device runs it, such as a GPU.
    """
    if not str(path):
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, 'no model is given: set model.path to the '
                       "folder of an ONNX export, or to 'demo' for the model in this package")
    # A folder called demo beside the caller would be a surprise: the word means ours.
    location = DEMO_FOLDER if str(path) == DEMO else Path(path)
    try:
        location = location.expanduser()
        found = location.exists()
    except (OSError, RuntimeError, ValueError):  # no such user, a name that is too long, ...
        found = False
    if not found:
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, f'there is no model at {location}: set the '
                       "path to the folder of an ONNX export, or to 'demo'")
    root = location.parent if location.is_file() else location
    if root.name == 'onnx' and (root.parent / 'config.json').is_file():
        root = root.parent
    genai_path = root / 'genai_config.json'
    genai = read_json(genai_path) if os.path.lexists(genai_path) else {}
    graph = location if location.is_file() else _choose_graph(
        root, genai, variant, _DEVICE_VARIANTS if on_device else list(VARIANT_SUFFIXES))
    folder = ModelFolder(root, graph, genai=genai)
    named = [genai.get('model', {}).get(part, {}).get('filename') or ''
             for part in ('embedding', 'vision')]
    own = next((name for name, suffixes in VARIANT_SUFFIXES.items() for suffix in suffixes
                if suffix and graph.stem.endswith(suffix)), 'fp32')
    return ModelFolder(root, graph, folder.read_json('config.json'), genai,
                       folder.read_json('generation_config.json'),
                       _choose_part(root, graph, EMBEDDING_STEMS, named[0],
                                    (own, *VARIANT_SUFFIXES)),
                       _choose_part(root, graph, VISION_STEMS, named[1],
                                    _DEVICE_VISION_VARIANTS if on_device else VISION_VARIANTS,
                                    image_variant))


def _choose_graph(root: Path, genai: dict[str, Any], variant: str, variants: Sequence[str]
                  ) -> Path:
    graphs = sorted(root.glob('*.onnx')) + sorted((root / 'onnx').glob('*.onnx'))
    if variant:
        wanted = {variant, f'{variant}.onnx'}
        if variant in VARIANT_SUFFIXES:
            wanted |= {f'{stem}{suffix}.onnx' for stem in GRAPH_STEMS
                       for suffix in VARIANT_SUFFIXES[variant]}
        for graph in graphs:
            if graph.name in wanted or str(graph.relative_to(root)) in wanted:
                return graph
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, f"{root} has no graph '{variant}': choose one "
                       f'of {_names(graphs, root) or "no .onnx files at all"}')
    named = genai.get('model', {}).get('decoder', {}).get('filename')
    if named:
        check_inside(named, root)
        if os.path.isfile(root / named):  # whatever its name is
            return root / named
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, f'genai_config.json names {named}, which is '
                       f'not in {root}: copy the model folder again')
    for suffix in (s for name in variants for s in VARIANT_SUFFIXES[name]):
        for stem in GRAPH_STEMS:
            for graph in graphs:
                if graph.name == f'{stem}{suffix}.onnx':
                    return graph
    if len(graphs) == 1:
        return graphs[0]
    if graphs:
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, f'{root} has several graphs: set the variant to '
                       f'one of {_names(graphs, root)}')
    deeper = sorted({p.parent.parent if p.parent.name == 'onnx' else p.parent
                     for p in root.glob('*/**/*.onnx')})
    if _PART_FOLDERS.intersection(found.name for found in deeper):
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, f'{root} has its graphs in folders and no '
                       'genai_config.json, which says which is which: copy that file of the model '
                       'into it')
    hint = f'; did you mean {few(map(str, deeper), 3)}?' if deeper else ''
    raise LfmError(ErrorCode.MODEL_NOT_FOUND, f'{root} has no .onnx file: set the path to the '
                   f'folder of an ONNX export{hint}')


def _choose_part(root: Path, graph: Path, stems: Sequence[str], named: str,
                 variants: Sequence[str], wanted: str = '') -> Path | None:
    """
    Return another graph of the same model, if it exists.

    :param named: what genai_config.json calls it.
    :param wanted: the variant or file that must be there; empty: the first of ``variants``.
    """
    names = [f'{stem}{suffix}.onnx' for variant in ([wanted] if wanted else variants)
             for suffix in VARIANT_SUFFIXES.get(variant, ()) for stem in stems]
    if wanted:
        names += [wanted, f'{wanted}.onnx']
    elif named:
        names.insert(0, named)
    for name in names:
        check_inside(name, root)
        for folder in (graph.parent, root, root / 'onnx'):
            if os.path.isfile(folder / name):
                return folder / name
    if wanted:
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, f"{root} has no vision encoder '{wanted}': set "
                       'image.variant to one in the folder, or leave it empty')
    return None


def _names(graphs: list[Path], root: Path) -> str:
    return few(str(g.relative_to(root)) for g in graphs)
