# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Train, export and evaluate the demo model in one run, from nothing."""

import argparse
import json
from pathlib import Path
import sys
import time
from typing import Iterator, NamedTuple

from batches import Batch, batches, draw, Encoder
from evaluate import evaluate
from export import export, save_checkpoint
from missions import MissionMaker
from model import make_model, use_fast_kernels
from score import write_model_card, write_score
from tokenizer import make_tokenizer
from tokenizers import Tokenizer
import torch
from torch import distributed, multiprocessing
import torch.nn.functional as functional
from tqdm import tqdm
from transformers import Lfm2ForCausalLM

# Only this share of the positions gets a loss; a fixed number keeps every shape the same, which
# matters for bfloat16 on a CPU: each new shape costs seconds of compilation.
TARGET_SHARE = 0.3
LEARNING_RATE = 3e-3
WARM_UP_STEPS = 100


class Phase(NamedTuple):
    """A part of the curriculum: drills go from the first share to the last, so does the rate."""

    name: str
    steps: int
    tokens: int
    length: int
    drills: tuple[float, float]
    rate: tuple[float, float]


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
)


class Trainer:
    """Hold the model and its optimizers, and run the phases, together with other workers."""

    def __init__(self, model: Lfm2ForCausalLM, encoder: Encoder, device: str, worker: int,
                 workers: int) -> None:
        self.model = model.to(device).train()
        self.encoder = encoder
        self.device = device
        self.worker = worker
        self.workers = workers
        matrices, sharpness, others = [], [], []
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and 'embed' not in name:
                matrices.append(weight)
            elif '_layernorm' in name:
                sharpness.append(weight)
            else:
                others.append(weight)
        self.optimizers = [
            torch.optim.Muon(matrices, weight_decay=0.02, adjust_lr_fn='match_rms_adamw'),
            torch.optim.AdamW([{'params': others, 'scale': 1.0},
                               {'params': sharpness, 'scale': 3.0}],
                              betas=(0.9, 0.98), weight_decay=0.0, fused=True)]
        self.steps, self.wall_s, self.cpu_s = 0, 0.0, 0.0

    def run(self, number: int, phase: Phase, seed: int) -> Iterator[float]:
        """Train one phase; yield the loss of every step."""
        seed = 1000 * seed + 10 * number + self.worker
        torch.manual_seed(seed)
        data = batches(self.encoder, seed, phase.steps, phase.tokens // self.workers,
                       phase.length, phase.drills)
        for step, batch in enumerate(data):
            first, last = phase.rate
            rate = LEARNING_RATE * (first + (last - first) * step / phase.steps)
            self._set_rate(rate * min(1.0, (self.steps + 1) / WARM_UP_STEPS))
            yield self.step(batch)
            self.steps += 1

    def step(self, batch: Batch) -> float:
        """Update the weights with one batch; return the weighted loss."""
        targets, weights = batch.ids[:, 1:].flatten(), batch.weights[:, 1:].flatten()
        count = int(TARGET_SHARE * targets.numel())
        chosen = (weights + 0.01 * torch.rand(weights.shape)).topk(count).indices
        targets, weights = targets[chosen].to(self.device), weights[chosen].to(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            states = self.model.model(input_ids=batch.ids[:, :-1].to(self.device), use_cache=False)
            states = states.last_hidden_state.flatten(0, 1)[chosen.to(self.device)]
            logits = self.model.lm_head(states)
        losses = functional.cross_entropy(logits.float(), targets, reduction='none')
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def _share_gradients(self) -> None:
        """Replace the gradients by their mean over all workers."""
        if self.workers == 1:
            return
        gradients = [weight.grad for weight in self.model.parameters()]
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(joined)
        parts = joined.div_(self.workers).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts):
            gradient.copy_(part.view_as(gradient))

    def save(self, file: Path) -> None:
        """Write the weights, the optimizers and the time spent so far."""
        torch.save({'model': self.model.state_dict(), 'steps': self.steps,
                    'wall_s': self.wall_s, 'cpu_s': self.cpu_s,
                    'optimizers': [optimizer.state_dict() for optimizer in self.optimizers]}, file)

    def load(self, file: Path) -> None:
        """Restore what save wrote."""
        saved = torch.load(file, map_location=self.device)
        self.model.load_state_dict(saved['model'])
        for optimizer, state in zip(self.optimizers, saved['optimizers']):
            optimizer.load_state_dict(state)
        self.steps, self.wall_s, self.cpu_s = saved['steps'], saved['wall_s'], saved['cpu_s']

    def _set_rate(self, rate: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group['lr'] = rate * group.get('scale', 1.0)


@torch.no_grad()
def probe(model: Lfm2ForCausalLM, encoder: Encoder, split: str, count: int = 32,
          length: int = 512) -> dict[str, str]:
    """Return right/asked answers per kind on held-out missions, given the right past."""
    maker = MissionMaker(90210, split)
    missions = [draw(maker, maker.rng, length, 0.0) for _ in range(count)]
    device = next(model.parameters()).device
    score: dict[str, list[int]] = {}
    for start in range(0, count, 8):
        batch, answers = encoder.encode(missions[start:start + 8], length)
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(input_ids=batch.ids.to(device), use_cache=False).logits
        right = logits[:, :-1].argmax(-1).cpu() == batch.ids[:, 1:]
        for row, first, last, kind in answers:
            entry = score.setdefault(kind, [0, 0])
            entry[0] += int(right[row, first - 1:last - 1].all())
            entry[1] += 1
    return {kind: f'{100 * good / asked:.0f}%/{asked}' for kind, (good, asked) in
            sorted(score.items())}


def train(worker: int, workers: int, work: Path, seed: int, resume: bool) -> None:
    """
    Run all phases as one of the workers; with resume, skip those saved in the work folder.

    One worker per core with one thread each is faster than one worker with many threads: the
    workers meet once per step, not at every small operation.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if workers > 1:
        torch.set_num_threads(1)
        distributed.init_process_group('gloo', init_method=f'file://{work.resolve()}/meeting',
                                       rank=worker, world_size=workers)
    if device == 'cpu':
        use_fast_kernels()
    encoder = Encoder(Tokenizer.from_file(str(work / 'tokenizer.json')))
    torch.manual_seed(seed)
    model = make_model(encoder.tokenizer.get_vocab_size())
    trainer = Trainer(model, encoder, device, worker, workers)
    for number, phase in enumerate(PHASES):
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
                right = probe(trainer.model, encoder, split)
                tqdm.write(f'{phase.name} {split}: {right}', file=sys.stderr)
    if worker == 0:
        save_checkpoint(trainer.model, work, work / 'checkpoint')
        write_facts(work / 'checkpoint', trainer, seed)


def write_facts(folder: Path, trainer: Trainer, seed: int) -> None:
    """Write what the score says about the run."""
    (folder / 'run.json').write_text(json.dumps({
        'parameters': sum(weight.numel() for weight in trainer.model.parameters()),
        'seed': seed, 'workers': trainer.workers, 'steps': trainer.steps,
        'tokens': sum(phase.steps * phase.tokens for phase in PHASES),
        'wall_s': round(trainer.wall_s), 'cpu_s': round(trainer.cpu_s)}))


def main() -> None:
    """Train the demo model, export it and write its score and its card beside it."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=root / 'lfm_ros' / 'models' / 'demo')
    parser.add_argument('--work', type=Path, default=root / 'build' / 'train_demo',
                        help='folder for checkpoints')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--workers', type=int, default=2, help='processes that train on CPU cores')
    parser.add_argument('--missions', type=int, default=60, help='held-out missions per split')
    parser.add_argument('--resume', action='store_true', help='keep the phases that are done')
    arguments = parser.parse_args()
    workers = 1 if torch.cuda.is_available() else arguments.workers
    arguments.work.mkdir(parents=True, exist_ok=True)
    (arguments.work / 'meeting').unlink(missing_ok=True)
    if not (arguments.resume and (arguments.work / 'tokenizer.json').exists()):
        make_tokenizer(arguments.work)
    multiprocessing.spawn(train, (workers, arguments.work, arguments.seed, arguments.resume),
                          nprocs=workers)
    checkpoint = arguments.work / 'checkpoint'
    export(checkpoint, arguments.out)
    outcomes = evaluate(arguments.out, arguments.missions)
    facts = json.loads((checkpoint / 'run.json').read_text())
    write_model_card(arguments.out, write_score(arguments.out, outcomes, facts))


if __name__ == '__main__':
    main()
