# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What transformers makes of a prompt with pictures; it needs torch and torchvision."""

from functools import cache
from pathlib import Path
import tempfile
from typing import Any

from fixture_tokenizer import save as save_tokenizer  # noqa: I100
from fixture_tokenizer import STYLES
import numpy
from pictures import picture
from PIL import Image
import torch
import torchvision_operators  # noqa: F401, I100
import transformers
from vision_golden import ASK
from vision_golden import CASES
from vision_golden import VisionCase
from vision_golden import VisionGolden
from vision_recipes import TEXT
from vision_recipes import VisionRecipe
from vision_recipes import VOCABULARY

CONTINUATION = 4
MARGIN = 0.03


@cache
def tokenizer() -> Any:
    """Return the tokenizer of the fixtures, with its chat template."""
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(STYLES['lfm2-vl'], VOCABULARY, Path(folder), template_inside=False)
        return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def process(
        settings: dict[str, Any], sizes: list[tuple[int, int]], text: str) -> dict[str, Any]:
    """
    Return what `Lfm2VlProcessor` makes of `text` and of pictures of these sizes.

    :param settings: arguments of `Lfm2VlImageProcessor`
    :return: its `input_ids`, and with pictures `pixel_values`, `pixel_attention_mask`,
        `spatial_shapes`, and per picture `image_rows`, `image_cols` and `image_sizes`
    """
    images = [Image.fromarray(picture(*size)) for size in sizes]
    image_processor = transformers.Lfm2VlImageProcessor(**settings)
    processor = transformers.Lfm2VlProcessor(image_processor, tokenizer())
    found = dict(processor(text=[text], images=images or None, return_tensors='pt'))
    if images:
        more = image_processor(images, return_row_col_info=True, return_tensors='pt')
        found.update((name, more[name]) for name in ('image_rows', 'image_cols', 'image_sizes'))
    return found


def pixels_of(found: dict[str, Any], index: int) -> numpy.ndarray:
    """Return tile `index` as the picture that it was, uint8 [height, width, 3]."""
    rows, columns = found['spatial_shapes'][index].tolist()
    values = found['pixel_values'][index, :rows * columns].double().numpy()
    colours = (values * 0.5 + 0.5) * 255
    whole = colours.round()
    if abs(colours - whole).max() > 1e-3:
        raise ValueError('pixels are not whole numbers')
    tiles = whole.reshape(rows, columns, 16, 16, 3).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(rows * 16, columns * 16, 3).astype(numpy.uint8)


def compute(model: Any, recipe: VisionRecipe) -> VisionGolden:
    """Return the golden numbers of `recipe`."""
    cases, features, logits = {}, {}, {}
    for name, sizes in CASES.items():
        cases[name], features[name], logits[name] = _compute_case(model, recipe, sizes)
    return VisionGolden(cases, features, logits, recipe.tolerance)


def _compute_case(
        model: Any, recipe: VisionRecipe, sizes: list[tuple[int, int]],
) -> tuple[VisionCase, numpy.ndarray, numpy.ndarray]:
    """Return one case, its features and the logits of the last id of its prompt."""
    content = [*({'type': 'image'} for _ in sizes), {'type': 'text', 'text': ASK}]
    text = tokenizer().apply_chat_template(
        [{'role': 'user', 'content': content}], tokenize=False, add_generation_prompt=True)
    found = process(recipe.settings, sizes, text)
    ids = found['input_ids'][0].tolist()
    seen = {
        name: found[name] for name in ('pixel_values', 'pixel_attention_mask', 'spatial_shapes')
        if name in found}
    greedy: list[int] = []
    wanted, margins, first = [], [], None
    for _ in range(CONTINUATION):
        with torch.no_grad():
            row = model(
                input_ids=torch.tensor([ids + greedy]), use_cache=False, **seen).logits[0, -1]
        first = row.numpy() if first is None else first
        best = row.double().log_softmax(-1).topk(2)
        greedy.append(int(best.indices[0]))
        wanted.append(round(float(best.values[0]), 7))
        margins.append(float(best.values[0] - best.values[1]))
    if min(margins) < MARGIN or any(not 16 <= i < 396 for i in greedy):
        raise ValueError(f'poor continuation {greedy}, margin {min(margins)}: change the seed')
    features = [torch.zeros(0, TEXT['hidden_size'])]
    if seen:
        with torch.no_grad():
            features = model.get_image_features(**seen).pooler_output
    case = VisionCase(
        pictures=[list(size) for size in sizes],
        grids=[[int(r), int(c)] for r, c in zip(
            found.get('image_rows', []), found.get('image_cols', []))],
        spatial_shapes=seen['spatial_shapes'].tolist() if seen else [],
        tokens=[len(tile) for tile in features] if seen else [], text=text, ids=ids,
        greedy=greedy, log_probabilities=wanted, margin=round(min(margins), 4))
    return case, torch.cat(list(features)).numpy(), first
