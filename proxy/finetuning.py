"""Short fine-tuning of a compressed network: labels and the dense network's answers, half and half.

The loss of a batch is ``(1 − α) · cross-entropy + α · T² · KL(dense ‖ compressed)`` of the softened class
probabilities (Hinton, Vinyals & Dean, Distilling the knowledge in a neural network, 2015, section 2); the rate of SGD
goes up and down once (Smith & Topin, Super-convergence, 2018); the result is an exponential moving average of the
weights. Everything that a step does follows from the seed and its number, so that a training which is taken up again
from a :class:`TuningState` ends with the same weights, bit for bit on the same device and number of threads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from proxy.augmentation import altered, epoch_order, step_generator
from proxy.errors import MissingInput, NotFinite, ShapeMismatch
from proxy.modes import evaluating, training
from proxy.outputs import float_outputs
from proxy.recipe import Recipe, one_cycle

__all__ = ["FineTuning", "Progress", "TuningState"]

_LOGITS = 2  # axes: images, classes


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Args:
        steps: done.
        loss: mean over the batches since it was last told, each before its step.
        learning_rate: of the last step.
    """

    steps: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class TuningState:
    """A training between two steps: everything that the next ones depend on. Tensors on the CPU, nothing else.

    Args:
        steps: done.
        tensors: ``weights.NAME``, ``momentum.NAME`` and ``average.NAME`` of parameters and buffers; with half
            precision that is scaled, ``scale`` and ``scale.growth``.
    """

    steps: int
    tensors: dict[str, Tensor]


class FineTuning:
    """A training that is advanced step by step.

    Args:
        network: trained in place, on the device that it is on.
        images: all of them ``(N, …)``, on any device; integers if ``prepare`` makes floats of them.
        labels: class of each ``(N,)``; None: the dense network's answers alone.
        reference: the dense network; may be None where ``distillation`` is 0.
        recipe: how.
        prepare: makes the network's inputs of a batch of images that was altered; runs on the network's device.

    Raises:
        MissingInput: there are no images, or neither labels nor a reference.
        ShapeMismatch: labels and images differ in number.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Int[Tensor, " N"] | None,
        *,
        reference: nn.Module | None,
        recipe: Recipe | None = None,
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.recipe = recipe or Recipe()
        _check(images, labels, reference)
        self.network, self._reference = network, reference
        self._images, self._labels = images, labels
        self._prepare = prepare or (lambda batch: batch)
        self._share = 1.0 if labels is None else 0.0 if reference is None else self.recipe.distillation
        self.total = self.recipe.steps(len(images))
        self.done = 0
        self._parameters = {name: one for name, one in network.named_parameters() if one.requires_grad}
        self._device = next(iter(self._parameters.values())).device
        self._optimizer = torch.optim.SGD(
            self._parameters.values(),
            lr=self.recipe.learning_rate,
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
        )
        self._precision = _precision(self._device)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._precision is torch.float16)
        self._followed = dict(network.state_dict())  # in place they change, and stay what they are
        self._average = {name: tensor.clone() for name, tensor in self._followed.items()}
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def run(self, steps: int | None = None, *, every: int = 10) -> Iterator[Progress]:
        """Advance, at most by ``steps``, else to the end. Between two reports the networks are in their own modes.

        Args:
            steps: at most.
            every: so many steps are one report; the numbers of a GPU are waited for at reports only.

        Raises:
            NotFinite: the loss is no number any more; the network is of no further use.
            ShapeMismatch: the network's outputs are no logits.
        """
        end = self.total if steps is None else min(self.total, self.done + steps)
        while self.done < end:
            losses: list[Tensor] = []
            with training(self.network), evaluating(*([self._reference] if self._reference else [])):
                while self.done < end and len(losses) < every:
                    losses.append(self._step())
            yield self._progress(losses)

    def _progress(self, losses: list[Tensor]) -> Progress:
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise NotFinite(
                f"the loss is no number any more after {self.done} steps",
                got=loss,
                mend="a smaller learning_rate, or gradient_norm=1",
            )
        return Progress(self.done, loss, self._optimizer.param_groups[0]["lr"])

    def result(self) -> nn.Module:
        """The network with the averaged weights and statistics, in eval mode: a copy."""
        averaged = copy.deepcopy(self.network)
        averaged.load_state_dict(self._average)
        for module in averaged.modules():
            module.training = False
        return averaged

    def state(self) -> TuningState:
        """Copies of everything that the steps to come depend on."""
        tensors = {f"weights.{name}": tensor for name, tensor in self._followed.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self._average.items()}
        for name, parameter in self._parameters.items():
            momentum = self._optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
        if self._scaler.is_enabled():
            scale = self._scaler.state_dict()
            tensors |= {"scale": torch.tensor(scale["scale"]), "scale.growth": torch.tensor(scale["_growth_tracker"])}
        return TuningState(
            self.done, {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        )

    def restore(self, state: TuningState) -> None:
        """Go on from a state of a training of the same network, images and recipe.

        Raises:
            ShapeMismatch: it is of another one.
        """
        weights, average, momentum = (_part(state.tensors, part) for part in ("weights", "average", "momentum"))
        own = self.network.state_dict()
        same = all(
            own.keys() == found.keys() and all(own[name].shape == one.shape for name, one in found.items())
            for found in (weights, average)
        )
        if not same or not momentum.keys() <= self._parameters.keys() or not 0 <= state.steps <= self.total:
            raise ShapeMismatch(
                "this state is of another training",
                got=f"{state.steps} steps of {len(weights)} tensors",
                expected=f"at most {self.total} steps of {len(own)} tensors",
                mend="begin anew",
            )
        self.network.load_state_dict(weights)
        self._average = {name: tensor.to(self._device, copy=True) for name, tensor in average.items()}
        for name, buffer in momentum.items():
            self._optimizer.state[self._parameters[name]]["momentum_buffer"] = buffer.to(self._device, copy=True)
        if self._scaler.is_enabled() and "scale" in state.tensors:
            growth = int(state.tensors["scale.growth"])
            scale = {"scale": float(state.tensors["scale"]), "_growth_tracker": growth}
            self._scaler.load_state_dict({**self._scaler.state_dict(), **scale})
        self.done = state.steps

    def _step(self) -> Float[Tensor, ""]:
        images, labels = self._batch(self.done)
        rate = one_cycle(self.done, self.total) * self.recipe.learning_rate
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self._device.type, self._precision, enabled=self._precision is not None):
            answers = self._dense_answers(images)  # before the network's own features take memory: faster, seen on CPUs
            loss = self._loss(_logits_of(self.network(images)), labels, answers)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # untyped in torch
        if self.recipe.gradient_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._parameters.values(), self.recipe.gradient_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._follow()
        self.done += 1
        return loss.detach()

    def _batch(self, step: int) -> tuple[Tensor, Tensor | None]:
        size = min(self.recipe.batch_size, len(self._images))
        first = step * size
        chosen = torch.cat([self._seen(at) for at in _spans(first, size, len(self._images))])
        images = self._images[chosen.to(self._images.device)].to(self._device, non_blocking=True)
        images = self._prepare(altered(images, self.recipe.augmentation, step_generator(self.recipe.seed, step)))
        if self._labels is None:
            return images, None
        return images, self._labels[chosen.to(self._labels.device)].to(self._device, non_blocking=True).long()

    def _seen(self, span: tuple[int, int, int]) -> Tensor:
        epoch, start, stop = span
        if self._order[0] != epoch:
            self._order = (epoch, epoch_order(len(self._images), epoch, self.recipe.seed))
        return self._order[1][start:stop]

    @torch.no_grad()
    def _dense_answers(self, images: Tensor) -> Tensor | None:
        """Log probabilities, softened; None where nothing is learnt from them."""
        if self._reference is None or self._share == 0:
            return None
        return (_logits_of(self._reference(images)).float() / self.recipe.temperature).log_softmax(1)

    def _loss(self, logits: Tensor, labels: Tensor | None, answers: Tensor | None) -> Float[Tensor, ""]:
        loss = logits.new_zeros((), dtype=torch.float32)
        if labels is not None and self._share < 1:
            loss = loss + (1 - self._share) * functional.cross_entropy(logits.float(), labels)
        if answers is not None:
            soft = self.recipe.temperature
            own = (logits.float() / soft).log_softmax(1)
            apart = functional.kl_div(own, answers, reduction="batchmean", log_target=True)
            loss = loss + self._share * soft * soft * apart
        return loss

    @torch.no_grad()
    def _follow(self) -> None:
        """The average takes in what the step left: weights and statistics; whole numbers are copied."""
        decay = min(self.recipe.ema_decay, (1 + self.done) / (10 + self.done))
        floats = [name for name, tensor in self._followed.items() if tensor.is_floating_point()]
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # untyped in torch
        average([self._average[name] for name in floats], [self._followed[name] for name in floats], None)
        for name in self._followed.keys() - set(floats):
            self._average[name].copy_(self._followed[name])


def _logits_of(outputs: object) -> Tensor:
    """The one tensor of an answer, in whatever structure it comes."""
    found = float_outputs(outputs)
    if len(found) != 1 or found[0][1].ndim != _LOGITS:
        raise ShapeMismatch(
            "fine-tuning is for classifiers",
            got=[tuple(tensor.shape) for _, tensor in found],
            expected="one output of logits (N, K), one row an image",
        )
    return found[0][1]


def _spans(first: int, size: int, images: int) -> Iterator[tuple[int, int, int]]:
    """(epoch, start, stop) of the images numbered from ``first`` on, ``size`` of them, over the ends of epochs."""
    while size > 0:
        epoch, start = divmod(first, images)
        stop = min(images, start + size)
        yield epoch, start, stop
        first, size = first + stop - start, size - (stop - start)


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): one for name, one in tensors.items() if name.startswith(f"{part}.")}


def _precision(device: torch.device) -> torch.dtype | None:
    """What a GPU multiplies in: bfloat16 where it has it; None, as it is, elsewhere."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _check(images: Tensor, labels: Tensor | None, reference: nn.Module | None) -> None:
    if len(images) == 0:
        raise MissingInput("there are no images to fine-tune on")
    if labels is None and reference is None:
        raise MissingInput(
            "there is nothing to learn from", got="no labels and no dense network", mend="pass reference=model"
        )
    if labels is not None and labels.shape != (len(images),):
        raise ShapeMismatch("labels and images differ in number", got=tuple(labels.shape), expected=(len(images),))
