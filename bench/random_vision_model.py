# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make a model of the shape of LFM2-VL-450M with random weights, to measure with.

The decoder is in int4, the vision encoder in int8, the embeddings in fp16. It needs what
test/models/requirements.txt lists.

    python bench/random_vision_model.py FOLDER
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path
import subprocess
import sys
import sysconfig
import tempfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'test' / 'models'), str(ROOT / 'training')]

from make_vision_models import BUILD  # noqa: E402, I100
import no_telemetry  # noqa: E402, F401
import onnx  # noqa: E402
from onnxruntime.quantization import quantize_dynamic  # noqa: E402
from onnxruntime.quantization import QuantType  # noqa: E402
from tokenizer import CHAT_TEMPLATE  # noqa: E402
from tokenizer import special_tokens  # noqa: E402
import tokenizers  # noqa: E402
import torch  # noqa: E402
import torchvision_operators  # noqa: E402, F401, I100
import transformers  # noqa: E402
from vision_export import export_embedding  # noqa: E402
from vision_export import VisionEncoder  # noqa: E402

VOCABULARY = 65536
ATTENTION = (2, 5, 8, 10, 12, 14)
ENDS = {'bos_token_id': 1, 'eos_token_id': 7, 'pad_token_id': 0}
TEXT = {
    'model_type': 'lfm2', 'vocab_size': VOCABULARY, 'hidden_size': 1024, 'intermediate_size': 4608,
    'num_hidden_layers': 16, 'num_attention_heads': 16, 'num_key_value_heads': 8,
    'layer_types': ['full_attention' if i in ATTENTION else 'conv' for i in range(16)],
    'block_auto_adjust_ff_dim': False, 'max_position_embeddings': 32768, **ENDS}
TOWER = {
    'model_type': 'siglip2_vision_model', 'hidden_size': 768, 'intermediate_size': 3072,
    'num_hidden_layers': 12, 'num_attention_heads': 12, 'num_patches': 256, 'patch_size': 16,
    'vision_use_head': False}
SIGNATURE = ('pixel_values', 'pixel_attention_mask', 'spatial_shapes')


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('folder', type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    config = transformers.Lfm2VlConfig(
        text_config=TEXT, vision_config=TOWER, image_token_id=396, projector_hidden_size=2048,
        projector_use_layernorm=False, downsample_factor=2, tie_word_embeddings=True, **ENDS,
        architectures=['Lfm2VlForConditionalGeneration'])
    model = transformers.Lfm2VlForConditionalGeneration(config).eval()
    save_tokenizer(folder)
    transformers.Lfm2VlImageProcessor().save_pretrained(folder)
    (folder / 'config.json').write_text(config.to_json_string())
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        save_encoder(model, Path(scratch), folder / 'vision_encoder_quantized.onnx')
        table = model.get_input_embeddings().weight.detach().half().float().numpy()
        export_embedding(table, None, folder / 'embed_tokens_fp16.onnx')
        gather_before_cast(folder / 'embed_tokens_fp16.onnx')
        save_decoder(model, Path(scratch), folder)


def save_tokenizer(folder: Path) -> None:
    """Train a tokenizer of the right size on what every Python brings along."""
    files = sorted(Path(sysconfig.get_path('stdlib')).rglob('*.py'))
    texts = (f.read_text(encoding='utf-8', errors='replace') for f in files)
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special_tokens(),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())))
    made.save(str(folder / 'tokenizer.json'))
    (folder / 'chat_template.jinja').write_text(CHAT_TEMPLATE)
    (folder / 'tokenizer_config.json').write_text(json.dumps({
        'tokenizer_class': 'PreTrainedTokenizerFast', 'bos_token': '<|startoftext|>',
        'eos_token': '<|im_end|>', 'pad_token': '<|pad|>'}))


def save_encoder(model: torch.nn.Module, scratch: Path, target: Path) -> None:
    """Export the vision encoder and make its matrices int8."""
    encoder = VisionEncoder(model).eval()
    example = (torch.zeros(1, 24, 768), torch.ones(1, 24, dtype=torch.int64),
               torch.tensor([[4, 6]]))
    torch.onnx.export(
        encoder, example, str(scratch / 'encoder.onnx'), input_names=list(SIGNATURE),
        output_names=['image_features'], opset_version=18, dynamo=False,
        dynamic_axes={SIGNATURE[0]: {1: 'num_patches'}, SIGNATURE[1]: {1: 'num_patches'},
                      'image_features': {0: 'num_image_tokens'}})
    quantize_dynamic(str(scratch / 'encoder.onnx'), str(target), op_types_to_quantize=['MatMul'],
                     weight_type=QuantType.QUInt8)


def gather_before_cast(path: Path) -> None:
    """Look ids up in the fp16 table and cast what was found, as published exports do."""
    graph = onnx.load(str(path))
    cast, gather = graph.graph.node
    gather.input[0], cast.input[0] = cast.input[0], 'rows'
    cast.output[0], gather.output[0] = gather.output[0], 'rows'
    del graph.graph.node[:]
    graph.graph.node.extend([gather, cast])
    onnx.save(graph, str(path))


def save_decoder(model: torch.nn.Module, scratch: Path, folder: Path) -> None:
    """Have the builder of onnxruntime-genai make the decoder in int4."""
    model.save_pretrained(scratch / 'checkpoint')
    for name in ('tokenizer.json', 'tokenizer_config.json'):
        (scratch / 'checkpoint' / name).write_bytes((folder / name).read_bytes())
    subprocess.run(
        [sys.executable, '-c', BUILD, '-i', str(scratch / 'checkpoint'),
         '-o', str(scratch / 'built'), '-p', 'int4', '-e', 'cpu', '-c', str(scratch / 'cache'),
         '--extra_options', 'exclude_embeds=true', 'prune_lm_head=true'],
        check=True, cwd=ROOT / 'test' / 'models')
    for name in ('model.onnx', 'model.onnx.data'):
        (scratch / 'built' / name).rename(folder / name)


if __name__ == '__main__':
    main()
