#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make the fixture models and their golden numbers: random weights, real exporters.

    python -m venv make && make/bin/pip install -r test/models/requirements.txt
    make/bin/python test/models/make_models.py [NAME ...]

Each series of onnxruntime-genai exports its own dialect, so the script makes the fixtures of the
series that is installed (0.18 or 0.14, see requirements.txt) and leaves the others as they are.
"""

from importlib.metadata import version
import json
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from fixture_tokenizer import save as save_tokenizer
from fixture_tokenizer import STYLES
import golden
import no_telemetry  # noqa: F401
import numpy
from recipes import Recipe
from recipes import RECIPES
import torch
import transformers
from weights import draw_weights

CLASSES = {
    'lfm2': (transformers.Lfm2Config, transformers.Lfm2ForCausalLM),
    'lfm2_moe': (transformers.Lfm2MoeConfig, transformers.Lfm2MoeForCausalLM),
    'qwen3': (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    'llama': (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    'phi3': (transformers.Phi3Config, transformers.Phi3ForCausalLM),
}


def main(names: list[str]) -> int:
    """Make the named fixtures, or all that the installed exporter can make."""
    series = '.'.join(version('onnxruntime-genai').split('.')[:2])
    recipes = [r for r in RECIPES if r.builder == series and (not names or r.name in names)]
    for recipe in recipes:
        model = build_model(recipe)
        make_golden(recipe, model)
        make_fixture(recipe, model)
        size = sum(path.stat().st_size for path in recipe.folder.iterdir())
        print(f'{recipe.name}: {size / 1000:.0f} kB')
    return 0 if recipes else 1


def build_model(recipe: Recipe) -> Any:
    """Return the model of `recipe` with its random weights, in fp32."""
    config_class, model_class = CLASSES[recipe.family]
    model = model_class(config_class(**recipe.config)).eval()
    draw_weights(model, recipe.seed)
    return model


def make_golden(recipe: Recipe, model: Any) -> None:
    """Compute and save the golden numbers of `recipe`."""
    random = numpy.random.Generator(numpy.random.PCG64(recipe.seed))
    drawn = random.integers(recipe.first_id, recipe.first_id + 256, golden.LENGTH)
    ids = [int(i) for i in drawn]
    if STYLES[recipe.style].bos:
        ids[0] = recipe.config['bos_token_id']
    golden.compute(model, ids, recipe.special_ids, recipe.tolerance).save(recipe.name)


def make_fixture(recipe: Recipe, model: Any) -> None:
    """Export `recipe` into its folder, which is replaced."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint, exported = Path(scratch, 'checkpoint'), Path(scratch, 'exported')
        model.save_pretrained(checkpoint)
        ends = {k: v for k, v in recipe.config.items() if k.endswith('_token_id')}
        (checkpoint / 'generation_config.json').write_text(json.dumps(ends, indent=2) + '\n')
        save_tokenizer(
            STYLES[recipe.style], recipe.tokens, checkpoint, template_inside=recipe.older)
        options = [f'{key}={value}' for key, value in recipe.options.items()]
        if 'kv_cache_quant_scheme' in recipe.options:
            scales = Path(scratch, 'scales.json')
            scales.write_text(json.dumps(state_scales(model, golden.load(recipe.name).ids)))
            options.append(f'kv_cache_scale_file={scales}')
        run = subprocess.run(
            [sys.executable, '-m', 'onnxruntime_genai.models.builder', '-i', str(checkpoint),
             '-o', str(exported), '-p', recipe.precision, '-e', recipe.target,
             '-c', str(Path(scratch, 'cache'))]
            + (['--extra_options', *options] if options else []),
            capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f'the builder failed on {recipe.name}:\n{run.stderr[-2000:]}')
        folder = recipe.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ('model.onnx', 'model.onnx.data', 'genai_config.json'):
            shutil.copyfile(exported / name, folder / name)
        for name in ('generation_config.json', 'tokenizer.json', 'tokenizer_config.json'):
            shutil.copyfile(checkpoint / name, folder / name)
        if not recipe.older:
            shutil.copyfile(checkpoint / 'chat_template.jinja', folder / 'chat_template.jinja')
        config = json.loads((checkpoint / 'config.json').read_text())
        if recipe.older:
            config = as_version_4(config)
        (folder / 'config.json').write_text(json.dumps(config, indent=2) + '\n')


def state_scales(model: Any, ids: list[int]) -> dict[str, Any]:
    """Return the calibration file of int8 states: per layer, largest value over `ids` / 127."""
    with torch.no_grad():
        layers = model(torch.tensor([ids]), use_cache=True).past_key_values.layers
    kept = [i for i, kind in enumerate(model.config.layer_types) if kind == 'full_attention']
    return {'layer_ids': kept, 'scales': {
        'k_scales': [float(layers[i].keys.abs().max() / 127) for i in kept],
        'v_scales': [float(layers[i].values.abs().max() / 127) for i in kept]}}


def as_version_4(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config of LFM2 as transformers 4 wrote it, which published repositories hold."""
    older = dict(config)
    layer_types = older.pop('layer_types')
    older['full_attn_idxs'] = [i for i, t in enumerate(layer_types) if t == 'full_attention']
    older['rope_theta'] = older.pop('rope_parameters')['rope_theta']
    older['block_ff_dim'] = older.pop('intermediate_size')
    older['torch_dtype'] = older.pop('dtype')
    older['tie_embedding'] = older.pop('tie_word_embeddings')
    del older['transformers_version']
    return older


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
