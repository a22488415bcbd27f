#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make the fixture models that see and their golden numbers.

    python -m venv make && make/bin/pip install -r test/models/requirements.txt
    make/bin/python test/models/make_vision_models.py [NAME ...]

As make_models.py, it makes the fixtures of the installed series of onnxruntime-genai.
"""

from copy import deepcopy
from importlib.metadata import version
import json
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from fixture_tokenizer import save as save_tokenizer  # noqa: I100
from fixture_tokenizer import STYLES
from make_models import as_version_4
import no_telemetry  # noqa: F401
import onnx
import torchvision_operators  # noqa: F401, I100
import transformers
from vision_export import export_embedding
from vision_export import export_vision
from vision_oracle import compute
from vision_recipes import FILTERS
from vision_recipes import IMAGE_ID
from vision_recipes import PATCHES
from vision_recipes import PROJECTOR
from vision_recipes import RECIPES
from vision_recipes import SEED
from vision_recipes import TEXT
from vision_recipes import TOWER
from vision_recipes import VisionRecipe
from vision_recipes import VOCABULARY
from weights import draw_weights

STYLE = STYLES['lfm2-vl']
BUILD = """
import runpy
import torchvision_operators
runpy.run_module('onnxruntime_genai.models.builder', run_name='__main__', alter_sys=True)
"""
ENDS = {key: value for key, value in TEXT.items() if key.endswith('_token_id')}


def main(names: list[str]) -> int:
    """Make the named fixtures, or all that the installed exporter can make."""
    series = '.'.join(version('onnxruntime-genai').split('.')[:2])
    recipes = [r for r in RECIPES if r.builder == series and (not names or r.name in names)]
    model = build_model()
    for recipe in recipes:
        make_fixture(recipe, model)
        compute(model, recipe).save(recipe.name)
        size = sum(path.stat().st_size for path in recipe.folder.rglob('*') if path.is_file())
        print(f'{recipe.name}: {size / 1000:.0f} kB')
    return 0 if recipes else 1


def build_model() -> Any:
    """Return the model that all fixtures share, with its random weights, in fp32."""
    config = transformers.Lfm2VlConfig(
        text_config={**TEXT, 'model_type': 'lfm2'},
        vision_config={**TOWER, 'model_type': 'siglip2_vision_model'}, **PROJECTOR, **ENDS,
        architectures=['Lfm2VlForConditionalGeneration'])
    model = transformers.Lfm2VlForConditionalGeneration(config).eval()
    draw_weights(model, SEED)
    return model


def make_fixture(recipe: VisionRecipe, model: Any) -> None:
    """Export `recipe` into its folder, which is replaced."""
    folder, older = recipe.folder, recipe.builder == '0.14'
    shutil.rmtree(folder, ignore_errors=True)
    for name in (recipe.vision, recipe.embedding, recipe.decoder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        decoder = make_decoder(text_model(model) if older else model, Path(scratch))
        if older:
            save_renamed(decoder / 'model.onnx', folder / recipe.decoder)
        else:
            for name in ('model.onnx', 'model.onnx.data'):
                shutil.copyfile(decoder / name, folder / name)
            write(folder / 'genai_config.json', genai_config(
                json.loads((decoder / 'genai_config.json').read_text()), recipe))
            write(folder / 'processor_config.json', genai_processor_config(recipe))
    export_vision(model, folder / recipe.vision, recipe.signature, recipe.patches)
    table = model.get_input_embeddings().weight.detach().numpy()
    export_embedding(table, None if older else IMAGE_ID, folder / recipe.embedding)
    save_tokenizer(STYLE, VOCABULARY, folder, template_inside=older)
    write(folder / 'generation_config.json', ENDS)
    processor = transformers.Lfm2VlImageProcessor(**recipe.settings)
    processor.save_pretrained(folder)
    config = json.loads(model.config.to_json_string())
    if older:
        config = config_of_version_4(config)
        write(folder / 'processor_config.json', {
            'processor_class': 'Lfm2VlProcessor', 'use_image_special_tokens': True})
    write(folder / 'config.json', config)


def make_decoder(model: Any, scratch: Path) -> Path:
    """Return a folder in which the builder put a decoder that takes vectors instead of ids."""
    checkpoint, exported = scratch / 'checkpoint', scratch / 'exported'
    model.save_pretrained(checkpoint)
    write(checkpoint / 'generation_config.json', ENDS)
    save_tokenizer(STYLE, VOCABULARY, checkpoint, template_inside=False)
    run = subprocess.run(
        [sys.executable, '-c', BUILD, '-i', str(checkpoint), '-o', str(exported), '-p', 'fp32',
         '-e', 'cpu', '-c', str(scratch / 'cache'), '--extra_options', 'exclude_embeds=true'],
        capture_output=True, text=True, cwd=Path(__file__).parent)
    if run.returncode:
        raise RuntimeError(f'the builder failed:\n{run.stderr[-2000:]}')
    return exported


def text_model(model: Any) -> Any:
    """Return the language model inside `model`, as the series 0.14 of the builder knows it."""
    text = transformers.Lfm2ForCausalLM(deepcopy(model.config.text_config)).eval()
    text.model.load_state_dict(model.model.language_model.state_dict())
    text.tie_weights()
    return text


def save_renamed(source: Path, target: Path) -> None:
    """Save a graph under another name, with its weights in NAME_data."""
    onnx.save(
        onnx.load(str(source)), str(target), save_as_external_data=True,
        all_tensors_to_one_file=True, location=f'{target.name}_data', size_threshold=256)
    target.with_name(f'{target.name}_data').chmod(0o644)


def genai_config(built: dict[str, Any], recipe: VisionRecipe) -> dict[str, Any]:
    """Return what the builder wrote with the sections that its LFM2-VL tutorial adds by hand."""
    pixels, mask, shapes = recipe.signature
    options = {'log_id': 'onnxruntime-genai', 'provider_options': []}
    built['model']['embedding'] = {
        'filename': recipe.embedding,
        'inputs': {'input_ids': 'input_ids', 'image_features': 'image_features'},
        'outputs': {'inputs_embeds': 'inputs_embeds'}, 'session_options': options}
    built['model']['vision'] = {
        'filename': recipe.vision, 'config_filename': 'processor_config.json',
        'patch_size': TOWER['patch_size'], 'spatial_merge_size': PROJECTOR['downsample_factor'],
        'max_num_patches': recipe.patches or 0,
        'inputs': {'pixel_values': pixels, 'attention_mask': mask, 'image_sizes': shapes},
        'outputs': {'image_features': 'image_features'}, 'session_options': options}
    return built


def genai_processor_config(recipe: VisionRecipe) -> dict[str, Any]:
    """Return the file by which onnxruntime-genai prepares pictures, which it never cuts."""
    side = TOWER['patch_size'] * PROJECTOR['downsample_factor']
    resample = {value: key for key, value in FILTERS.items()}[recipe.resample]
    steps: list[tuple[str, str, dict[str, Any]]] = [
        ('decode_image', 'DecodeImage', {'color_space': 'RGB'}),
        ('resize', 'Resize', {
            'height': 512, 'width': 512, 'smart_resize': 1,
            'interpolation': {'bilinear': 'LINEAR', 'bicubic': 'CUBIC'}[resample],
            'min_pixels': recipe.settings['min_image_tokens'] * side ** 2,
            'max_pixels': recipe.settings['max_image_tokens'] * side ** 2,
            'patch_size': TOWER['patch_size'], 'merge_size': PROJECTOR['downsample_factor']}),
        ('rescale', 'Rescale', {'rescale_factor': 1 / 255}),
        ('normalize', 'Normalize', {'mean': [0.5] * 3, 'std': [0.5] * 3}),
        ('to_channel_first', 'Permute3D', {'dims': [2, 0, 1]}),
        ('image_sizes', 'PixtralImageSizes', {})]
    return {'processor': {'name': 'lfm2_vl_image_processor', 'transforms': [
        {'operation': {'name': name, 'type': kind, **({'attrs': attrs} if attrs else {})}}
        for name, kind, attrs in steps]}}


def config_of_version_4(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config of LFM2-VL as transformers 4 wrote it and transformers.js reads it."""
    older = {k: v for k, v in config.items() if k != 'transformers_version'}
    older['text_config'] = as_version_4(
        {'transformers_version': None, 'dtype': 'float32', **config['text_config']})
    older['tie_embedding'] = older.pop('tie_word_embeddings')
    older['max_num_patches'] = PATCHES
    older['transformers.js_config'] = {'use_external_data_format': {
        'decoder_model_merged': True}}
    return older


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, indent=2) + '\n')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
