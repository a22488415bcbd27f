# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Update weights: Muon for matrices, AdamW for the rest, together with other workers."""

from typing import Any, Iterable

import torch
from torch import distributed, nn
from torch.optim import _muon

TABLES = ('embed_tokens', 'position_embedding', 'readers')
SHARPNESS = ('q_layernorm', 'k_layernorm')
EYE = ('vision_tower', 'multi_modal_projector')


def _orthogonalize(gradient: torch.Tensor, factors: tuple[float, float, float], steps: int,
                   epsilon: float) -> torch.Tensor:
    """Do in float32 what Muon does in bfloat16."""
    a, b, c = factors
    tall = gradient.shape[0] > gradient.shape[1]
    matrix = gradient.T if tall else gradient
    matrix = matrix / matrix.norm().clamp(min=epsilon)
    for _ in range(steps):
        gram = matrix @ matrix.T
        matrix = torch.addmm(matrix, torch.addmm(gram, gram, gram, beta=b, alpha=c), matrix,
                             beta=a)
    return matrix.T if tall else matrix


# Without the instructions for it, bfloat16 is many times slower than float32.
_muon._zeropower_via_newtonschulz = _orthogonalize


class Optimizer:
    """Two optimizers as one; the gradients are the mean over all workers."""

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], workers: int) -> None:
        matrices: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        others: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        sharpness = []
        for name, weight in parameters:
            sees = any(part in name for part in EYE)
            if weight.dim() == 2 and not any(table in name for table in TABLES):
                matrices[sees].append(weight)
            elif any(part in name for part in SHARPNESS):
                sharpness.append(weight)
            else:
                others[sees].append(weight)
        self.weights = [*matrices[False], *matrices[True], *sharpness, *others[False],
                        *others[True]]
        self.workers = workers
        self.parts = [
            torch.optim.Muon([{'params': matrices[False], 'scale': 1.0, 'sees': False},
                              {'params': matrices[True], 'scale': 1.0, 'sees': True}],
                             weight_decay=0.02, adjust_lr_fn='match_rms_adamw'),
            torch.optim.AdamW([{'params': others[False], 'scale': 1.0, 'sees': False},
                               {'params': others[True], 'scale': 1.0, 'sees': True},
                               {'params': sharpness, 'scale': 3.0, 'sees': False}],
                              betas=(0.9, 0.98), weight_decay=0.0, fused=True)]

    def step(self, loss: torch.Tensor, rate: float, eye_share: float) -> None:
        """Go one step against the gradient of a loss; the eye at a share of the rate."""
        loss.backward()
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for part in self.parts:
            for group in part.param_groups:
                group['lr'] = rate * group['scale'] * (eye_share if group['sees'] else 1.0)
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        """Return what restore takes."""
        return [part.state_dict() for part in self.parts]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on from a state."""
        for part, saved in zip(self.parts, state):
            part.load_state_dict(saved)

    def _share_gradients(self) -> None:
        """Replace the gradients by their mean over all workers."""
        if self.workers == 1:
            return
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(joined)
        parts = joined.div_(self.workers).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts):
            gradient.copy_(part.view_as(gradient))
