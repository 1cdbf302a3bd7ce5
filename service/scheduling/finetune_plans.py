"""How a trial's network is to be fine-tuned: on which images, by which recipe, in how many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from ranksearch.contracts.data_slices import DataSlice
from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.errors import DatasetError, InputError
from ranksearch.contracts.finetuning import Recipe, RecipeRequest
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.study_requests import StudyRequest
from service.access.principal import Principal
from service.scheduling.data_checks import check_apart, check_label_range, classes_of, slice_of
from service.storage.tables import DatasetRow

__all__ = ["Plan", "checked_training", "is_trainable", "plan_of"]


@dataclass(frozen=True)
class Plan:
    """A training, in all that its result depends on besides the network.

    Args:
        training: the images, with both ends.
        recipe: with nothing left open.
    """

    training: DataSlice
    recipe: Recipe

    @property
    def steps(self) -> int:
        """In all."""
        return self.recipe.steps((self.training.stop or 0) - self.training.start)

    def stored(self) -> dict[str, Any]:
        """As it is kept; equal for plans that are equal."""
        return {
            "training": self.training.model_dump(mode="json"),
            "recipe": self.recipe.model_dump(mode="json"),
            "steps": self.steps,
        }


def is_trainable(profile: ModelProfile) -> bool:
    """Whether it is a classifier of images, which alone are fine-tuned."""
    takes_an_image = [len(shape) for shape in profile.input_shapes] == [3]  # channels, height, width
    return takes_an_image and len(profile.output_shapes) == 1 and classes_of(profile) is not None


def plan_of(session: Session, training: DataSlice, wanted: RecipeRequest) -> Plan:
    """The plan for images that were checked, with what was left open."""
    summary = DatasetSummary.model_validate(session.get_one(DatasetRow, training.dataset).summary)
    images = (training.stop or 0) - training.start
    return Plan(training, wanted.completed(images, labelled=summary.has_labels))


def checked_training(
    session: Session,
    caller: Principal,
    study: StudyRequest,
    wanted: DataSlice | None,
    profile: ModelProfile,
    *,
    hold: bool,
) -> DataSlice:
    """The images to train on, with both ends.

    Args:
        session: of the transaction.
        caller: whose data set it must be.
        study: with the ends of its slices filled in.
        wanted: None: those of the calibration's data set that do not validate.
        profile: of the model.
        hold: whether nobody is to delete the data set until the transaction ends.

    Raises:
        InputError: ``finetune_unsupported``: the network does not give one row of class scores.
        NotFoundError: there is no such data set.
        DatasetError: the images do not fit the model, or are also validated on.
    """
    if not is_trainable(profile):
        raise InputError(
            "finetune_unsupported",
            "fine-tuning is for classifiers of images: networks with one image in and one output of class scores",
            got=f"inputs {profile.input_shapes}, outputs {profile.output_shapes}",
            expected="one input of three dimensions, one output of one dimension",
            mend="take the calibrated network, and train it as you trained the dense one",
        )
    chosen = wanted or _beside_validation(session, study)
    training, summary = slice_of(session, caller, "training", chosen, profile, hold=hold)
    check_apart(training, study.validation, role="training")
    check_label_range("training", summary, profile)
    return training


def _beside_validation(session: Session, study: StudyRequest) -> DataSlice:
    """All of the calibration's data set or, where that one validates as well, its larger part beside those images."""
    dataset, validation = study.calibration.dataset, study.validation
    if dataset != validation.dataset:
        return DataSlice(dataset=dataset)
    row = session.get(DatasetRow, dataset)
    count = 0 if row is None else DatasetSummary.model_validate(row.summary).count
    before, after = validation.start, count - (validation.stop or count)
    if max(before, after) < 1:
        raise DatasetError(
            "dataset_empty",
            "no images are left to train on: all of the data set validate",
            got=f"validation images {validation.start} to {validation.stop} of {count}",
            mend="name the training images: training",
        )
    return (
        DataSlice(dataset=dataset, stop=before)
        if before >= after
        else DataSlice(dataset=dataset, start=validation.stop or 0)
    )
