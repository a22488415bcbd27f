# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Train a model through the phases of a curriculum."""

from pathlib import Path
import random
from typing import Iterator, NamedTuple, Optional, Union

from album import Album
from batches import Batch, batches, draw, Encoder, TOKENS_PER_TURN
from meaning import use_words, Words
from missions import MissionMaker
from optimizer import Optimizer
from sights import Sight, SightMaker
from tool_calls import CallMaker
import torch
import torch.nn.functional as functional
from tower import MOST_TOKENS, Readers
from transformers import Lfm2VlForConditionalGeneration
from vision import Eye, IMAGE_TOKEN

# Only this share of the positions gets a loss; a fixed number keeps every shape the same.
TARGET_SHARE = 0.3
LEARNING_RATE = 3e-3
WARM_UP_STEPS = 100
# The readers of the tower go on to be asked while the language model learns to look.
READERS_WEIGHT = 0.05
WORD_PICTURES = 960


class Phase(NamedTuple):
    """
    A part of the curriculum: drills go from the first share to the last, so does the rate.

    A share `sights` of the missions has pictures. With a length of 0, the tower and the projector
    learn alone, with the tokens of so many pictures; otherwise at the share `eye` of the rate.
    In a share `moves` of those without pictures, things move again and again. A share `calls` of
    the missions has tools; then the drills are theirs.
    """

    name: str
    steps: int
    tokens: int
    length: int
    drills: tuple[float, float]
    rate: tuple[float, float]
    sights: float = 0.0
    eye: float = 1.0
    moves: float = 0.0
    calls: float = 0.0


class Trainer:
    """Hold the model and its optimizer, and run the phases, together with other workers."""

    def __init__(self, model: Lfm2VlForConditionalGeneration, encoder: Encoder,
                 album: Album, worker: int, workers: int) -> None:
        self.model = model.train()
        # Three times as fast on a CPU, after a minute for every shape; in float32, since with
        # bfloat16 it neither gets faster nor learns.
        language_model = model.model.language_model
        language_model.forward = torch.compile(language_model.forward, dynamic=False)
        self.eye = Eye(model)
        self.readers = Readers(model.config.vision_config.hidden_size,
                               model.config.text_config.hidden_size)
        self.encoder = encoder
        self.album = album
        self.worker = worker
        self.workers = workers
        self.optimizer = Optimizer(
            [*model.named_parameters(), *self.readers.named_parameters('readers')], workers)
        self.reading = True
        self.steps, self.tokens, self.wall_s, self.cpu_s = 0, 0, 0.0, 0.0

    def run(self, number: int, phase: Phase, seed: int) -> Iterator[float]:
        """Train one phase; yield the loss of every step."""
        seed = 1000 * seed + 10 * number + self.worker
        torch.manual_seed(seed)
        first, last = phase.rate
        self.eye.requires_grad_(phase.eye > 0.0)
        self.reading = phase.eye > 0.0
        # What was turned towards words stays so.
        self.eye.projector.linear_2.requires_grad_(phase.length == 0)
        slow = max(1, min(WARM_UP_STEPS, phase.steps // 5))
        for step, batch in enumerate(self._data(phase, seed)):
            rate = LEARNING_RATE * (first + (last - first) * step / phase.steps)
            loss = self._talk(batch) if isinstance(batch, Batch) else self._see(batch)
            # A new task starts slowly.
            self.optimizer.step(loss, rate * min(1.0, (step + 1) / slow), phase.eye)
            self.steps += 1
            self.tokens += phase.tokens
            yield loss.item()
        if phase.length == 0:
            # The same pictures for every worker, so that all have the same weights again.
            rng = random.Random(number)
            words = Words(self.encoder.tokenizer, self.model.get_input_embeddings().weight)
            use_words(self.eye, self.readers, words,
                      [self.album.draw(rng) for _ in range(WORD_PICTURES)])

    def states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last states of the language model, and the loss of the readers if any."""
        ids = batch.ids[:, :-1]
        embeddings = self.model.get_input_embeddings()(ids)
        loss = torch.zeros(())
        if batch.pictures:
            features, loss = self._look(batch.pictures)
            counts = torch.tensor([[sight.tokens] for sight in batch.pictures])
            seen = features[torch.arange(features.shape[1]) < counts].to(embeddings.dtype)
            embeddings = embeddings.masked_scatter((ids == IMAGE_TOKEN)[..., None], seen)
        states = self.model.model.language_model(inputs_embeds=embeddings, use_cache=False)
        return states.last_hidden_state, loss

    def _look(self, sights: list[Sight]) -> tuple[torch.Tensor, torch.Tensor]:
        halfway, features = self.eye.look([sight.patches for sight in sights])
        # What a tower that stays as it is shows, the readers have no more to learn about.
        loss = self.readers(halfway, features, sights) if self.reading else torch.zeros(())
        return features, loss

    def _data(self, phase: Phase, seed: int) -> Iterator[Union[Batch, list[Sight]]]:
        tokens = phase.tokens // self.workers
        rng = random.Random(seed)
        if phase.length == 0:
            return ([self.album.draw(rng) for _ in range(tokens // MOST_TOKENS)]
                    for _ in range(phase.steps))
        return batches(self.encoder, seed, phase.steps, tokens, phase.length, phase.drills,
                       phase.sights, lambda: self.album.draw(rng), phase.moves,
                       phase.calls)

    def _see(self, sights: list[Sight]) -> torch.Tensor:
        return self._look(sights)[1]

    def _talk(self, batch: Batch) -> torch.Tensor:
        targets, weights = batch.ids[:, 1:].flatten(), batch.weights[:, 1:].flatten()
        count = int(TARGET_SHARE * targets.numel())
        chosen = (weights + 0.01 * torch.rand(weights.shape)).topk(count).indices
        targets, weights = targets[chosen], weights[chosen]
        states, seen = self.states(batch)
        logits = self.model.lm_head(states.flatten(0, 1)[chosen])
        losses = functional.cross_entropy(logits, targets, reduction='none')
        return (losses * weights).sum() / weights.sum() + READERS_WEIGHT * seen

    def save(self, file: Path) -> None:
        """Write the weights, the optimizer and the time spent so far."""
        torch.save({'model': self.model.state_dict(), 'readers': self.readers.state_dict(),
                    'steps': self.steps, 'tokens': self.tokens,
                    'wall_s': self.wall_s, 'cpu_s': self.cpu_s,
                    'optimizer': self.optimizer.state()}, file)

    def load(self, file: Path) -> None:
        """Restore what save wrote."""
        saved = torch.load(file)
        self.model.load_state_dict(saved['model'])
        self.readers.load_state_dict(saved['readers'])
        self.optimizer.restore(saved['optimizer'])
        self.steps, self.tokens = saved['steps'], saved['tokens']
        self.wall_s, self.cpu_s = saved['wall_s'], saved['cpu_s']


@torch.no_grad()
def probe(trainer: Trainer, split: str, album: Optional[Album] = None, calls: bool = False,
          count: int = 32, length: int = 512) -> dict[str, str]:
    """
    Return right/asked answers per kind on held-out missions, given the right past.

    With an album, the missions have pictures, and the text is not from the split; with `calls`
    they have tools.
    """
    if calls:
        caller = CallMaker(90210, split)
        missions = [caller.mission(length // TOKENS_PER_TURN) for _ in range(count)]
    elif album is None:
        maker = MissionMaker(90210, split)
        missions = [draw(maker, maker.rng, length, 0.0) for _ in range(count)]
    else:
        rng = random.Random(90210)
        watcher = SightMaker(rng, MissionMaker(90210, split), lambda: album.draw(rng))
        missions = [watcher.mission(length) for _ in range(count)]
    score: dict[str, list[int]] = {}
    for start in range(0, count, 8):
        batch, answers = trainer.encoder.encode(missions[start:start + 8], length)
        # Not worth a minute of compilation.
        with torch.compiler.set_stance('force_eager'):
            logits = trainer.model.lm_head(trainer.states(batch)[0])
        right = logits.argmax(-1) == batch.ids[:, 1:]
        for row, first, last, kind in answers:
            entry = score.setdefault(kind, [0, 0])
            entry[0] += int(right[row, first - 1:last - 1].all())
            entry[1] += 1
    return {kind: f'{100 * good / asked:.0f}%/{asked}' for kind, (good, asked) in
            sorted(score.items())}
