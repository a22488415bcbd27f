# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Export a trained model to a folder that ONNX Runtime and onnxruntime-genai load."""

import json
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

from export_vision import export_embeddings, export_vision_encoder
import no_telemetry  # noqa: F401
from pictures import LEAST_PIXELS, MOST_PATCHES, MOST_PIXELS, PATCH, SETTINGS
from portable import make_portable
from transformers import Lfm2VlForConditionalGeneration

TOKENIZER_FILES = ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja')
CONFIG_FILES = ('config.json', 'generation_config.json', 'preprocessor_config.json',
                'processor_config.json')
GENERATION = {'bos_token_id': 1, 'eos_token_id': [7, 2], 'pad_token_id': 0, 'do_sample': False}
VISION_FILE, EMBEDDINGS_FILE = 'vision_encoder.onnx', 'embeddings.onnx'
GENAI_PROCESSOR_FILE = 'genai_processor_config.json'


def save_checkpoint(model: Lfm2VlForConditionalGeneration, tokenizer_folder: Path,
                    folder: Path) -> None:
    """Write the weights, the configurations and the tokenizer as transformers reads them."""
    model.save_pretrained(folder)
    _write_json(folder / 'generation_config.json', GENERATION)
    _write_json(folder / 'preprocessor_config.json', SETTINGS)
    _write_json(folder / 'processor_config.json', {
        'processor_class': SETTINGS['processor_class'], 'image_processor': SETTINGS})
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer_folder / name, folder / name)


def export(checkpoint: Path, folder: Path, precision: str = 'int8') -> None:
    """
    Build the ONNX graphs of a checkpoint; replace the folder's files.

    The decoder is built by onnxruntime-genai. Everything is built aside and moved at the end, so
    that a reader never sees half of it.
    """
    with tempfile.TemporaryDirectory(dir=checkpoint.parent) as work:
        built = Path(work) / 'built'
        done = subprocess.run(
            [sys.executable, '-m', 'onnxruntime_genai.models.builder', '-i', str(checkpoint),
             '-o', str(built), '-p', precision, '-e', 'cpu', '-c', str(Path(work) / 'cache'),
             '--extra_options', 'exclude_embeds=true'], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f'the builder of onnxruntime-genai failed:\n{done.stderr[-2000:]}')
        for name in TOKENIZER_FILES + CONFIG_FILES:
            shutil.copy(checkpoint / name, built / name)
        make_portable(built / 'model.onnx')
        model = Lfm2VlForConditionalGeneration.from_pretrained(checkpoint)
        export_vision_encoder(model, built / VISION_FILE)
        export_embeddings(model, built / EMBEDDINGS_FILE)
        _describe_vision(built)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(built.iterdir()):
            shutil.move(str(file), str(folder / file.name))


def _describe_vision(folder: Path) -> None:
    """Tell onnxruntime-genai about the graphs that its builder does not make."""
    config_file = folder / 'genai_config.json'
    config = json.loads(config_file.read_text())
    config['model']['embedding'] = {
        'filename': EMBEDDINGS_FILE,
        'inputs': {'input_ids': 'input_ids', 'image_features': 'image_features'},
        'outputs': {'inputs_embeds': 'inputs_embeds'}}
    config['model']['vision'] = {
        'filename': VISION_FILE, 'config_filename': GENAI_PROCESSOR_FILE, 'patch_size': PATCH,
        'spatial_merge_size': SETTINGS['downsample_factor'], 'max_num_patches': MOST_PATCHES,
        'inputs': {name: name for name in ('pixel_values', 'attention_mask', 'image_sizes')},
        'outputs': {'image_features': 'image_features'}}
    _write_json(config_file, config)
    resize = {'height': 256, 'width': 256, 'interpolation': 'LINEAR', 'smart_resize': 1,
              'min_pixels': LEAST_PIXELS, 'max_pixels': MOST_PIXELS, 'patch_size': PATCH,
              'merge_size': SETTINGS['downsample_factor']}
    steps = (
        ('decode_image', 'DecodeImage', {'color_space': 'RGB'}),
        ('resize', 'Resize', resize),
        ('rescale', 'Rescale', {'rescale_factor': SETTINGS['rescale_factor']}),
        ('normalize', 'Normalize', {'mean': SETTINGS['image_mean'],
                                    'std': SETTINGS['image_std']}),
        ('channels_first', 'Permute3D', {'dims': [2, 0, 1]}),
        ('image_sizes', 'PixtralImageSizes', {}))
    _write_json(folder / GENAI_PROCESSOR_FILE, {'processor': {
        'name': 'lfm2_vl_image_processor', 'transforms': [
            {'operation': {'name': name, 'type': kind, **({'attrs': values} if values else {})}}
            for name, kind, values in steps]}})


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2) + '\n')
