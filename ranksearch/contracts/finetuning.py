"""Fine-tuning: what is asked for, how a training goes, and what came of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ranksearch.contracts.base import Request, Resource, Sha256, Timestamp
from ranksearch.contracts.data_slices import DataSlice
from ranksearch.contracts.resources import Blob, Problem

__all__ = [
    "CURVE_POINTS",
    "FineTune",
    "FineTuneOption",
    "FineTuneRequest",
    "FineTuneState",
    "ProgressRequest",
    "Recipe",
    "RecipeRequest",
    "TuningPoint",
    "TuningScore",
    "TuningSummary",
]

FineTuneState = Literal["pending", "running", "ready", "failed", "cancelled"]
CURVE_POINTS = 200
"""A training is reported in at most so many points, about."""
_MOST = 20


class Recipe(Resource):
    """How a network is trained; the words are those of :class:`proxy.Recipe`."""

    epochs: float = Field(gt=0, le=10_000, description="passes over the training images")
    batch_size: int = Field(ge=1, le=65_536, description="images a step")
    learning_rate: float = Field(gt=0, le=10, description="the highest of the one cycle")
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1)
    distillation: float = Field(
        ge=0, le=1, description="the share of the dense network's answers in the loss; the rest are the labels"
    )
    temperature: float = Field(gt=0, le=100, description="by which logits are divided before they are compared")
    ema_decay: float = Field(ge=0, lt=1, description="of the moving average of the weights that is the result")
    augmentation: Literal["none", "flip", "flip_crop"]
    gradient_norm: float | None = Field(default=None, gt=0, description="gradients are scaled down to this at most")
    seed: int = Field(ge=0, lt=2**32)

    def steps(self, images: int) -> int:
        """So many a training on so many images takes; at least one."""
        return max(1, round(self.epochs * images / min(self.batch_size, images)))


class RecipeRequest(Request):
    """What of a :class:`Recipe` is chosen. None: by the number of training images, and whether they have labels."""

    epochs: float | None = Field(default=None, gt=0, le=10_000)
    batch_size: int = Field(default=128, ge=1, le=65_536)
    learning_rate: float | None = Field(default=None, gt=0, le=10)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    distillation: float | None = Field(default=None, ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0, le=100)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    augmentation: Literal["none", "flip", "flip_crop"] = "flip_crop"
    gradient_norm: float | None = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)

    def completed(self, images: int, *, labelled: bool) -> Recipe:
        """With what was left open, for so many training images.

        Few images are learnt by heart by a high rate: seen on a ResNet-20 with 2,000 images, where a rate of 0.02
        lost what a lower one kept. So rate and length follow the number of images.
        """
        few = images < _MANY_IMAGES
        members = self.model_dump()
        if self.epochs is None:
            members["epochs"] = _FEW_IMAGES_EPOCHS if few else 2.0
        if self.learning_rate is None:
            members["learning_rate"] = _FEW_IMAGES_RATE if few else 0.02
        if not labelled:
            members["distillation"] = 1.0
        elif self.distillation is None:
            members["distillation"] = _FEW_IMAGES_DISTILLATION if few else 0.5
        return Recipe.model_validate(members)


_MANY_IMAGES = 20_000
_FEW_IMAGES_EPOCHS, _FEW_IMAGES_RATE, _FEW_IMAGES_DISTILLATION = 12.0, 0.005, 0.9


class FineTuneOption(Request):
    """Of a study's request: its best trials are fine-tuned once it is complete, and the best one is chosen anew."""

    top: int = Field(default=3, ge=1, le=_MOST, description="so many of the best trials")
    training: DataSlice | None = Field(
        default=None,
        description="the images that are trained on; None: those of the calibration's data set that do not validate",
    )
    recipe: RecipeRequest = Field(default_factory=RecipeRequest)


class FineTuneRequest(Request):
    """``POST /v1/studies/{id}/finetunes``: by their numbers, or the best ones; the best three where neither is given.

    A trial has one fine-tuning: asked for with the same images and recipe again it is the same one, with others it is
    made anew.
    """

    trials: list[int] | None = Field(default=None, min_length=1, max_length=_MOST, description="numbers")
    top: int | None = Field(default=None, ge=1, le=_MOST)
    training: DataSlice | None = Field(default=None, description="as in the option of a study")
    recipe: RecipeRequest = Field(default_factory=RecipeRequest)

    @model_validator(mode="after")
    def _names_trials_once(self) -> FineTuneRequest:
        if self.trials is not None and self.top is not None:
            raise ValueError("trials and top exclude each other: name trials, or how many of the best")
        if self.trials is not None and not all(0 <= number < 2**31 for number in self.trials):
            raise ValueError(f"trials {self.trials} holds what is no number of a trial")
        return self


class TuningPoint(Resource):
    """One point of the loss curve."""

    step: int = Field(ge=1, description="steps done")
    loss: float = Field(allow_inf_nan=False, description="mean over the steps since the point before; nats an image")
    learning_rate: float = Field(ge=0, allow_inf_nan=False)


class TuningScore(Resource):
    """A network on all of the study's validation images."""

    value: float = Field(allow_inf_nan=False, description="accuracy where there are labels, else kl")
    accuracy: float | None = Field(default=None, ge=0, le=1)
    kl: float | None = Field(default=None, description="nats an image, dense to compressed")
    images: int = Field(ge=1)


class FineTune(Resource):
    """The fine-tuning of one trial's network.

    ``before`` and ``after`` are measured on the study's validation images, which are never trained on.
    """

    id: str
    study: str
    trial: int
    state: FineTuneState
    recipe: Recipe
    training: DataSlice
    step: int = Field(default=0, description="steps done and reported")
    steps: int = Field(description="in all")
    curve: list[TuningPoint] = Field(default=[], description="the loss so far, about 200 points at most")
    before: TuningScore | None = None
    after: TuningScore | None = None
    dense: TuningScore | None = Field(default=None, description="the dense network on the same images")
    improved: bool | None = Field(default=None, description="None: not known yet")
    chosen: bool = Field(default=False, description="whether this network is what the study hands out as its best")
    checkpoint_step: int | None = Field(
        default=None, description="where it goes on if its worker dies; None: at its beginning"
    )
    resumed: int = Field(default=0, description="how often it was taken up again from a checkpoint")
    attempts: int = 0
    worker: str | None = None
    artifact: Blob | None = Field(default=None, description="the fine-tuned model document")
    url: str | None = Field(default=None, description="of its bytes, relative to the service")
    error: Problem | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class TuningSummary(Resource):
    """What fine-tuning has come to in a study."""

    asked: int
    ready: int
    failed: int
    improved: int = Field(description="of those ready, the ones that got better by it")
    chosen: int | None = Field(
        default=None, description="the trial whose fine-tuned network is the study's best; None: no fine-tuned one is"
    )
    kendall_tau: float | None = Field(
        default=None,
        description="Kendall's τ-b between the proxy and the result after fine-tuning, over the ready ones: 1 where the"
        " proxy had them in the right order; None: fewer than three, or all alike",
    )


class ProgressRequest(Request):
    """``POST /v1/jobs/{id}/progress``: how far a training is. 204, or 409 ``lease_lost``."""

    lease_token: str
    points: list[TuningPoint] = Field(default=[], max_length=2 * CURVE_POINTS, description="since the last report")
    before: TuningScore | None = None
    dense: TuningScore | None = None
    checkpoint: Sha256 | None = Field(default=None, description="uploaded before; replaces the one before")
    checkpoint_step: int | None = Field(default=None, ge=0)
    resumed_at: int | None = Field(default=None, ge=0, description="the training was taken up at this step")
