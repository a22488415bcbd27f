# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How to open a model."""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.vision.encoder import ALWAYS

DEFAULT_CONTEXT = 4096  # tokens
AUTO = 'auto'  # in place of a provider: those that prove to be fastest on this machine


@dataclass(frozen=True)
class ModelOptions:
    """
    How to open a model.

    :param variant: which graph of the folder; empty chooses what a CPU runs best.
    :param providers: ONNX Runtime execution providers, the preferred one first.
    :param provider_options: of the preferred provider, as ONNX Runtime names them.
    :param max_batch_size: missions that are decoded in one run on a device; it has memory for
        the whole context of each.
    :param threads: threads inside one operator; 0: one per core.
    :param cores: processors on which its threads run, one on each; empty: any.
    :param context_length: most tokens of one mission; 0: as many as the model was made for.
    :param prefill_chunk: tokens of a prompt that one run reads; 0: 64 on a CPU, where their
        number hardly changes the speed, and as many as were measured to be best on a device.
        Logits of a whole prompt would take 262 KB per token (LFM2).
    :param prompt_lookup: draft the next tokens of an answer from earlier text of the mission, and
        verify several of them in one run.
    :param preload_formats: load the grammar engine when missions begin; else the first answer
        with a response format loads it.
    :param prepared: folder with the graphs of this model made ready for this machine, as
        :func:`lfm_ros.prepare.cache.ready` gives it; None: the model's own are opened.
    :param spinning: let idle threads spin, see
        :func:`lfm_ros.engine.runtime.session.open_session`.
    :param arena: keep the memory of a run for the next one, and that of a prompt until it is
        read; without, prompts are read more slowly.
    :param fallback: run on the next of ``providers``, and in the end on the CPU, when one cannot
        be used, see :func:`lfm_ros.engine.providers.open_on_best`.
    :param run_timeout: seconds that one run of an open model may take, see
        :class:`lfm_ros.serving.watchdog.Watchdog`; 0: no limit.
    :param image_variant: which vision encoder of the folder; empty: 8 bits, else the full one.
    :param image_tokens: most tokens of one image; 0: as many as the model was made for.
    :param image_tiling: whether large images are cut into tiles, where the model does that.
    :param encoder_keep_alive: seconds for which the vision encoder stays in memory after its last
        use; negative: always.
    """

    variant: str = ''
    providers: Sequence[str] = (CPU,)
    provider_options: Mapping[str, str] = field(default_factory=dict)
    max_batch_size: int = 4
    threads: int = 0
    cores: Sequence[int] = ()
    context_length: int = DEFAULT_CONTEXT
    prefill_chunk: int = 0
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
    encoder_keep_alive: float = ALWAYS
