"""What the form for a study shows at first: the product's own defaults, or an earlier study's request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, get_args

from ranksearch.contracts.dataset_inputs import matched_inputs
from ranksearch.contracts.defaults import DEFAULT_BUDGET, split
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.goals import CostWord, Metric, Sampler
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.resources import Dataset, Model
from ranksearch.contracts.studies import Study
from ranksearch.contracts.study_requests import DataSlice, StudyRequest
from service.dashboard.layer_table import LayerTable
from service.scheduling.finetune_plans import is_trainable
from service.scheduling.metric_choice import default_metric, fitting_metrics

__all__ = ["Bound", "SubmissionForm"]

_ABSOLUTE: Final[dict[CostWord, str]] = {"macs": "macs", "params": "parameters", "latency_ms": "ms"}
_LABELS: Final[dict[CostWord, str]] = {
    "macs": "Multiply-accumulates",
    "params": "Parameters",
    "latency_ms": "Latency, batch 1",
}
_OWN: Final = frozenset(
    {"model", "calibration", "validation", "constraints", "objectives", "max_drop", "name", "methods", "keep_dense"}
    | {"n_trials", "metric", "search_images", "finalists", "timeout", "plateau", "priority", "sampler"}
)
"""Members that the form has fields for; an earlier study's others are sent as they were."""


@dataclass(frozen=True)
class Bound:
    """A row of the budget: an upper bound on one cost, in per cent of the dense network's or absolute.

    Args:
        word: the cost.
        value: as it stands in the field; empty: nothing is bounded.
        is_percent: of which unit that is.
        known: why it cannot be bounded; None: it can.
    """

    word: CostWord
    value: str
    is_percent: bool
    unknown: str | None = None

    @property
    def label(self) -> str:
        """What people call it."""
        return _LABELS[self.word]

    @property
    def unit(self) -> str:
        """Of an absolute bound."""
        return _ABSOLUTE[self.word]


class SubmissionForm:
    """The fields of a study's form, filled in.

    Args:
        model: that is to be searched, inspected.
        data: images to validate on and, unless ``calibration`` is another data set, to calibrate on.
        calibration: images to calibrate on; None: the first ones of ``data``.
        earlier: the study that is asked for once more.

    Raises:
        DatasetError: one image cannot both calibrate and validate.
    """

    def __init__(self, model: Model, data: Dataset, calibration: Dataset | None, earlier: Study | None) -> None:
        self.model, self.data, self.earlier = model, data, earlier
        self._asked = None if earlier is None else earlier.request
        self.calibration, self.validation = self._slices(calibration)

    @cached_property
    def table(self) -> LayerTable:
        """The model's layers."""
        return LayerTable(self._profile)

    @property
    def base(self) -> dict[str, Any]:
        """Members of the request that the form has no fields for."""
        if self._asked is None:
            return {}
        of_another_model = {"from_studies"} if self._asked.model != self.model.id else set()
        return self._asked.model_dump(mode="json", exclude=set(_OWN) | of_another_model)

    @property
    def goal(self) -> str:
        """``best``, ``smallest`` or ``front``."""
        if self._asked is None or self._asked.objectives == ["proxy"]:
            return "best"
        return "smallest" if self._asked.smallest else "front"

    @property
    def objectives(self) -> list[str]:
        """Of a front; of the smallest network its cost."""
        return list(self._asked.objectives) if self._asked is not None and self.goal != "best" else ["proxy", "macs"]

    @property
    def cost(self) -> str:
        """Of which the least is searched."""
        return self.objectives[0] if self.goal == "smallest" else "macs"

    @property
    def drop(self) -> str:
        """How much may be lost: points of accuracy, else as it is sent."""
        drop = None if self._asked is None else self._asked.max_drop
        if drop is None:
            return "1" if self.smallest_metric == "accuracy" else ""
        return f"{100 * drop:g}" if self.smallest_metric == "accuracy" else f"{drop:g}"

    @property
    def smallest_metric(self) -> Metric:
        """By which the smallest network is judged, where no metric is asked for."""
        if self._asked is not None and self._asked.metric is not None:
            return self._asked.metric
        return self.default_smallest_metric

    @property
    def default_smallest_metric(self) -> Metric:
        """The same, whatever an earlier study asked for."""
        return default_metric(self.data.summary, self._profile, smallest=True)

    @property
    def default_metric(self) -> Metric:
        """By which all other studies are judged, where no metric is asked for."""
        return default_metric(self.data.summary, self._profile, smallest=False)

    @property
    def is_trainable(self) -> bool:
        """Whether its trials can be fine-tuned."""
        return is_trainable(self._profile)

    @property
    def fine_tuned(self) -> int | None:
        """So many of the best, by the earlier study; None: none."""
        asked = self.value("finetune")
        return None if asked is None else int(asked.top)

    @property
    def bounds(self) -> list[Bound]:
        """The rows of the budget."""
        given: dict[str, Any] = {"macs": DEFAULT_BUDGET}
        if self._asked is not None:
            given = self._asked.constraints.model_dump(exclude_none=True)
        profile = self.model.profile
        timed = profile is not None and profile.latency is not None
        why = None if timed else "not measured when the model was inspected: have it inspected again"
        return [self._bound(word, given.get(word), why if word == "latency_ms" else None) for word in _ABSOLUTE]

    @property
    def methods(self) -> list[tuple[Method, bool, bool]]:
        """Each method, whether it is chosen, and whether the model has a layer for it."""
        chosen = self.value("methods")
        known: list[Method] = [one for one in get_args(Method) if one != "dense"]
        ordered = [*chosen, *(one for one in known if one not in chosen)]
        return [(one, one in chosen, one in self.table.methods) for one in ordered if one != "dense"]

    @property
    def metrics(self) -> list[Metric]:
        """That can be asked for."""
        return fitting_metrics(self.data.summary, self._profile)

    @property
    def is_plain(self) -> bool:
        """Whether the network takes one image and answers one tensor, of which nobody needs to be told."""
        return len(self._profile.input_specs) == len(self._profile.output_specs) == 1

    @property
    def inputs(self) -> list[tuple[TensorSpec, str | None]]:
        """The network's inputs, each with the data set's input that it takes; None where they do not fit."""
        wanted, given = self._profile.input_specs, self.data.summary.inputs
        try:
            order = matched_inputs(given, wanted)
        except DatasetError:
            return [(spec, None) for spec in wanted]
        return [(spec, given[at].name) for spec, at in zip(wanted, order, strict=True)]

    @property
    def outputs(self) -> list[TensorSpec]:
        """What the network answers."""
        return self._profile.output_specs

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """That can be asked for."""
        return get_args(Sampler)

    def value(self, name: str) -> Any:  # noqa: ANN401 - a member of the request, of any kind
        """A member of the request: the earlier study's, or what it is where nobody says anything."""
        if self._asked is not None:
            return getattr(self._asked, name)
        return StudyRequest.model_fields[name].get_default(call_default_factory=True)

    @property
    def _profile(self) -> ModelProfile:
        if self.model.profile is None:
            raise ValueError(f"model {self.model.id} is not inspected")
        return self.model.profile

    def _slices(self, calibration: Dataset | None) -> tuple[DataSlice, DataSlice]:
        asked = self._asked
        documents = ((calibration or self.data).id, self.data.id)
        if asked is not None and (asked.calibration.dataset, asked.validation.dataset) == documents:
            return asked.calibration, asked.validation
        if calibration is not None and calibration.id != self.data.id:
            return DataSlice(dataset=calibration.id), DataSlice(dataset=self.data.id)
        return split(self.data)

    @staticmethod
    def _bound(word: CostWord, given: float | str | None, unknown: str | None) -> Bound:
        is_percent = given is None or isinstance(given, str)
        value = "" if given is None else given.rstrip("% ") if isinstance(given, str) else f"{given:g}"
        return Bound(word, value if word == "latency_ms" or is_percent else str(given), is_percent, unknown)
