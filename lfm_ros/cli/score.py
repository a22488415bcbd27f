# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Print the log-probability of every token of a text, given those before it.

It prints one JSON object: {"logprobs": [...]}, the natural logarithms of p(ids[i+1] | ids[0..i]).
With --image the tokens of the image come before the ids, and there is one number for every id.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from lfm_ros.cli.inputs import given_text
from lfm_ros.cli.options import add_image_arguments
from lfm_ros.cli.options import open_model
from lfm_ros.cli.options import read_images
from lfm_ros.cli.output import print_json
from lfm_ros.conversation.image_features import ImageFeatures
from lfm_ros.engine.model import Model
from lfm_ros.engine.sampling import log_softmax
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument('--ids', help='token ids: 1,2,3; - reads them from standard input')
    given.add_argument('--text', help='text, or - for standard input; control tokens in it are '
                       'plain text')
    add_image_arguments(parser)
    parser.add_argument('--chunk', type=int, default=64, metavar='N',
                        help='tokens per run of the model')


def run(arguments: argparse.Namespace) -> int:
    """Score ids or text."""
    if arguments.chunk < 1:
        raise LfmError(ErrorCode.INVALID_VALUE,
                       f'--chunk is {arguments.chunk}: set it to 1 or more')
    model = open_model(arguments, with_text=False)
    if arguments.text is None:
        ids = _read_ids(given_text(arguments.ids), model.vocabulary)
    else:
        text = given_text(arguments.text)
        check_text(text, 'text')
        ids = model.tokenizer.encode(text)
    if not ids:
        raise LfmError(ErrorCode.EMPTY_PROMPT, 'there is no token to score: give some')
    images = [model.require_vision().preprocess(image)
              for image in read_images(arguments.image)]
    count = len(ids) + sum(len(model.require_vision().ids(image)) for image in images)
    if count > model.context_length:
        raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'there are {count} tokens and the context has '
                       f'{model.context_length}: score fewer at a time')
    print_json({'logprobs': score(model, ids, arguments.chunk, images), 'ids': ids})
    return 0


def score(model: Model, ids: list[int], chunk: int, images: Sequence[PreparedImage] = ()
          ) -> list[float]:
    """
    Return the natural log of p(ids[i+1] | ids[0..i]) for each i.

    :param chunk: tokens per run; a graph that gives the last logits only is called per token.
    :param images: shown before the ids; then the first id has a number, too.
    """
    state = model.new_state()
    size = 1 if model.runner.head_pruned else min(chunk, model.runner.max_run_tokens)
    found: list[float] = []
    if images:
        shown = [i for image in images for i in model.require_vision().ids(image)]
        features_of, last = ImageFeatures(model), len(shown) - 1
        for start in range(0, last, size):
            chunk_ids = shown[start:min(start + size, last)]
            features = features_of.features(images, shown, start, len(chunk_ids))
            model.runner.run(state, chunk_ids, features=features)
        # The end of the last image is read with the ids: it tells of the first of them.
        ids = [shown[-1], *ids]
    for start in range(0, len(ids), size):
        scores = log_softmax(model.runner.run(state, ids[start:start + size], every=True))
        following = ids[start + 1:start + 1 + size]
        found.extend(scores[np.arange(len(following)), following].tolist())
    return found


def _read_ids(text: str, vocabulary: int) -> list[int]:
    try:
        ids = [int(part) for part in text.replace(',', ' ').split()]
    except ValueError:
        raise LfmError(ErrorCode.INVALID_VALUE,
                       f"--ids is '{text[:80]}': write numbers with commas between") from None
    for i in ids:
        if not 0 <= i < vocabulary:
            raise LfmError(ErrorCode.INVALID_VALUE,
                           f'--ids has {i}: the ids of this model are 0 to {vocabulary - 1}')
    return ids
