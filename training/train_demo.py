# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Train, export and evaluate the demo model in one run, from nothing or from a shipped model."""

import argparse
import json
from pathlib import Path
import shutil
import sys
import time
from typing import Optional

from album import Album, make_album
from batches import Encoder
from evaluate import evaluate, evaluate_calls, evaluate_vision
from export import export, save_checkpoint, TOKENIZER_FILES
from model import make_model, use_fast_kernels
from restore import restore
from score import write_model_card, write_score
from tokenizer import make_tokenizer
from tokenizers import Tokenizer
from tool_calls import CALL_SPLITS
import torch
from torch import distributed, multiprocessing
from tqdm import tqdm
from trainer import Phase, probe, Trainer
from vision import make_vision_model

PHASES = (
    Phase('read', 900, 4096, 256, (0.95, 0.7), (1.0, 1.0)),
    Phase('bind', 450, 4096, 256, (0.85, 0.6), (1.0, 1.0)),
    Phase('talk', 450, 6144, 512, (0.3, 0.1), (1.0, 0.7)),
    Phase('doubt', 450, 4096, 256, (0.6, 0.4), (0.9, 0.8)),
    Phase('keep', 400, 4096, 512, (0.3, 0.2), (0.8, 0.6)),
    Phase('last', 1000, 4096, 1024, (0.15, 0.05), (0.7, 0.0)),
    Phase('more', 700, 4096, 512, (0.2, 0.1), (0.6, 0.4)),
    Phase('sure', 1000, 4096, 1024, (0.1, 0.05), (0.4, 0.0)),
    Phase('plain', 900, 4096, 512, (0.1, 0.0), (0.6, 0.0)),
    Phase('near', 1500, 4096, 512, (0.2, 0.05), (0.8, 0.5)),
    Phase('far', 1400, 4096, 1024, (0.05, 0.0), (0.5, 0.0)),
    Phase('wide', 1000, 4096, 512, (0.05, 0.0), (0.5, 0.0)),
    Phase('words', 2000, 4096, 512, (0.05, 0.0), (0.6, 0.3)),
    Phase('long', 1200, 4096, 1024, (0.0, 0.0), (0.35, 0.08)),
    Phase('see', 1700, 3072, 0, (0.0, 0.0), (1.0, 0.15)),
    Phase('look', 900, 4096, 512, (1.0, 1.0), (0.8, 0.6), 0.75, 0.0),
    Phase('tell', 1800, 4096, 512, (0.8, 0.6), (0.45, 0.0), 0.5, 0.15),
    Phase('vary', 460, 4096, 512, (0.0, 0.0), (0.5, 0.3), 0.25, 0.0),
    Phase('whole', 140, 4096, 1024, (0.0, 0.0), (0.3, 0.0), 0.5, 0.0),
    Phase('move', 1770, 4096, 1024, (0.0, 0.0), (0.4, 0.0), 0.5, 0.0, 0.5),
    Phase('call', 650, 8192, 512, (1.0, 0.8), (0.6, 0.6), 0.13, 0.0, 0.3, 0.6),
    Phase('order', 950, 8192, 512, (0.7, 0.2), (0.6, 0.3), 0.13, 0.0, 0.3, 0.5),
    Phase('serve', 550, 8192, 1024, (0.1, 0.0), (0.3, 0.0), 0.25, 0.0, 0.5, 0.5),
)
SCENES = 16000
# The first phase of a run that goes on from a shipped model, if it is not told another one.
GO_ON = 'vary'


def train(worker: int, workers: int, work: Path, seed: int, resume: bool,
          shipped: Optional[Path], go_on: str = GO_ON) -> None:
    """
    Run all phases as one of the workers; with resume, skip those saved in the work folder.

    From a shipped model, run those from `go_on` on.

    One worker per core with one thread each is faster than one worker with many threads: the
    workers meet once per step, not at every small operation.
    """
    torch.set_num_threads(1)
    if workers > 1:
        distributed.init_process_group('gloo', init_method=f'file://{work.resolve()}/meeting',
                                       rank=worker, world_size=workers)
    use_fast_kernels()
    encoder = Encoder(Tokenizer.from_file(str(work / 'tokenizer.json')))
    torch.manual_seed(seed)
    model = restore(shipped) if shipped else \
        make_vision_model(make_model(encoder.tokenizer.get_vocab_size()))
    album = Album(work / 'album')
    trainer = Trainer(model, encoder, album, worker, workers)
    first = [phase.name for phase in PHASES].index(go_on) if shipped else 0
    for number, phase in enumerate(PHASES[first:], first):
        saved = work / f'phase{number}.pt'
        if resume and saved.exists():
            trainer.load(saved)
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        bar = tqdm(trainer.run(number, phase, seed), total=phase.steps, desc=phase.name,
                   disable=worker > 0, mininterval=2.0)
        mean = 0.0
        for step, loss in enumerate(bar):
            mean = loss if step == 0 else 0.98 * mean + 0.02 * loss
            bar.set_postfix_str(f'loss {mean:.3f}', refresh=False)
        trainer.wall_s += time.perf_counter() - wall
        trainer.cpu_s += workers * (time.process_time() - cpu)
        if worker == 0:
            trainer.save(saved)
            for split in ('pair', 'word', 'wording'):
                tqdm.write(f'{phase.name} {split}: {probe(trainer, split)}', file=sys.stderr)
            if phase.calls:
                for split in CALL_SPLITS:
                    tqdm.write(f'{phase.name} calls, {split}: {probe(trainer, split, calls=True)}',
                               file=sys.stderr)
            if phase.sights:
                tqdm.write(f'{phase.name} pictures: {probe(trainer, "pair", album)}',
                           file=sys.stderr)
    if worker == 0:
        save_checkpoint(trainer.model, work, work / 'checkpoint')
        write_facts(work / 'checkpoint', trainer, seed, shipped, len(album.scenes))


def write_facts(folder: Path, trainer: Trainer, seed: int, shipped: Optional[Path],
                scenes: int) -> None:
    """Write what the score says about the run; what a shipped model took before is added."""
    facts = {'parameters': sum(weight.numel() for weight in trainer.model.parameters()),
             'runs': 'one run', 'seed': seed, 'workers': trainer.workers}
    spent = {'steps': trainer.steps, 'tokens': trainer.tokens, 'scenes': scenes,
             'wall_s': round(trainer.wall_s), 'cpu_s': round(trainer.cpu_s)}
    if shipped:
        before = json.loads((shipped / 'score.json').read_text())
        facts.update(runs=before['runs'], seed=before['seed'])
        facts['last_run'] = {'seed': seed, **spent}
        spent = {name: before[name] + value for name, value in spent.items()}
    (folder / 'run.json').write_text(json.dumps({**facts, **spent}))


def main() -> None:
    """Train the demo model, export it and write its score and its card beside it."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=root / 'lfm_ros' / 'models' / 'demo')
    parser.add_argument('--work', type=Path, default=root / 'build' / 'train_demo',
                        help='folder for checkpoints and drawn scenes (6 GB)')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--workers', type=int, default=2, help='processes that train')
    parser.add_argument('--missions', type=int, default=60, help='held-out missions per split')
    parser.add_argument('--scenes', type=int, default=SCENES, help='scenes to draw')
    parser.add_argument('--shipped', type=Path, metavar='FOLDER',
                        help='go on from an exported model, with the last phases')
    parser.add_argument('--go-on', default=GO_ON, choices=[phase.name for phase in PHASES],
                        help='with --shipped: the first phase to run')
    parser.add_argument('--resume', action='store_true', help='keep the phases that are done')
    arguments = parser.parse_args()
    work, workers = arguments.work, arguments.workers
    work.mkdir(parents=True, exist_ok=True)
    (work / 'meeting').unlink(missing_ok=True)
    if arguments.shipped:
        for name in TOKENIZER_FILES:
            shutil.copy(arguments.shipped / name, work / name)
    elif not (arguments.resume and (work / 'tokenizer.json').exists()):
        make_tokenizer(work)
    if not (work / 'album' / 'scenes.pickle').exists():
        make_album(work / 'album', arguments.scenes, arguments.seed, workers)
    multiprocessing.spawn(
        train, (workers, work, arguments.seed, arguments.resume, arguments.shipped,
                arguments.go_on), nprocs=workers)
    checkpoint = work / 'checkpoint'
    export(checkpoint, arguments.out)
    facts = json.loads((checkpoint / 'run.json').read_text())
    outcomes = evaluate(arguments.out, arguments.missions)
    seen = evaluate_vision(arguments.out, 2 * arguments.missions)
    called = evaluate_calls(arguments.out, arguments.missions)
    write_model_card(arguments.out, write_score(arguments.out, outcomes, seen, called, facts))


if __name__ == '__main__':
    main()
