"""The same short fine-tuning for every network: labels and the dense network's answers, half and half.

SGD, momentum 0.9, weight decay 1e-4, one-cycle to 0.02, batches of 128; images flipped at random and cropped from a
padded frame of 4. Every network sees the same images in the same order, altered alike, so the dense network's answers
are computed once for all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["RECIPE", "ShortTraining"]

RECIPE = (
    "SGD, momentum 0.9, weight decay 1e-4, one-cycle to 0.02, batches of 128, random flips and crops, the loss half"
    " cross-entropy with the labels and half KL to the dense network's answers (T = 1)"
)
_BATCH, _RATE, _FRAME = 128, 0.02, 4


class ShortTraining:
    """The batches of a fine-tuning, altered once for all networks.

    Args:
        dense: whose answers are aimed at.
        images: preprocessed ``(N, 3, 32, 32)``, on the device of all networks.
        labels: ``(N,)``.
        seen: how many images are seen; more than N: several passes.
        seed: of their order and how they are altered.
    """

    def __init__(self, dense: nn.Module, images: Tensor, labels: Tensor, seen: int, seed: int = 0) -> None:
        self._dense, self._images, self._labels = dense, images, labels
        self._generator = torch.Generator().manual_seed(seed)
        passes = -(-seen // len(images))
        order = torch.cat([torch.randperm(len(images), generator=self._generator) for _ in range(passes)])
        self._order = order[: seen - seen % _BATCH].split(_BATCH)
        self._altered: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, network: nn.Module) -> nn.Module:
        """Fine-tune it, in place."""
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), lr=_RATE, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=len(self._order))
        for step in range(len(self._order)):
            images, labels, dense = self._batch(step)
            logits = network(images)
            own = functional.kl_div(logits.log_softmax(1), dense, reduction="batchmean", log_target=True)
            loss = 0.5 * functional.cross_entropy(logits, labels) + 0.5 * own
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            optimizer.step()
            schedule.step()
        return network.eval()

    @torch.no_grad()
    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels and the dense network's log probabilities; the first network makes them."""
        while len(self._altered) <= step:
            chosen = self._order[len(self._altered)]
            images = self._alter(self._images[chosen])
            self._altered.append((images, self._labels[chosen], self._dense(images).log_softmax(1)))
        return self._altered[step]

    def _alter(self, images: Tensor) -> Tensor:
        flipped = (torch.rand(len(images), generator=self._generator) < 0.5).to(images.device)  # noqa: PLR2004 - in two
        images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
        framed = functional.pad(images, (_FRAME,) * 4)
        corners = torch.randint(0, 2 * _FRAME + 1, (len(images), 2), generator=self._generator).to(images.device)
        rows = corners[:, :1] + torch.arange(images.shape[2], device=images.device)
        columns = corners[:, 1:] + torch.arange(images.shape[3], device=images.device)
        which = torch.arange(len(images), device=images.device)[:, None, None]
        cropped = framed.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
        return cropped.permute(0, 3, 1, 2)  # channels last in memory
