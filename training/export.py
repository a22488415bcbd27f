# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Export a trained model to a folder that ONNX Runtime and onnxruntime-genai load."""

import json
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

from portable import make_portable
from transformers import Lfm2ForCausalLM

TOKENIZER_FILES = ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja')
GENERATION = {'bos_token_id': 1, 'eos_token_id': [7, 2], 'pad_token_id': 0, 'do_sample': False}


def save_checkpoint(model: Lfm2ForCausalLM, tokenizer_folder: Path, folder: Path) -> None:
    """Write the weights, the configuration and the tokenizer as transformers reads them."""
    model.save_pretrained(folder)
    (folder / 'generation_config.json').write_text(json.dumps(GENERATION, indent=2) + '\n')
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer_folder / name, folder / name)


def export(checkpoint: Path, folder: Path, precision: str = 'int8') -> None:
    """
    Build the ONNX graph of a checkpoint with onnxruntime-genai; replace the folder's files.

    The graph is built aside and moved at the end, so that a reader never sees half of it.
    """
    with tempfile.TemporaryDirectory(dir=checkpoint.parent) as work:
        built = Path(work) / 'built'
        done = subprocess.run(
            [sys.executable, '-m', 'onnxruntime_genai.models.builder', '-i', str(checkpoint),
             '-o', str(built), '-p', precision, '-e', 'cpu', '-c', str(Path(work) / 'cache')],
            capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f'the builder of onnxruntime-genai failed:\n{done.stderr[-2000:]}')
        for name in TOKENIZER_FILES + ('config.json', 'generation_config.json'):
            shutil.copy(checkpoint / name, built / name)
        make_portable(built / 'model.onnx')
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(built.iterdir()):
            shutil.move(str(file), str(folder / file.name))
