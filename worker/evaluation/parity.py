"""Whether a file computes what it was made from, measured on validation images.

Two programs that add in another order differ in the last digits; a file that was written wrongly differs by as much as
its outputs do among themselves. So the largest difference is held against the range of the outputs, and what is
tolerated lies far from both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from proxy import Inputs
from ranksearch.contracts.artifacts import ParityReport
from ranksearch.contracts.errors import EvaluationError

__all__ = ["Outputs", "compared", "in_full_precision", "outputs_of", "torch_runtime"]

Outputs = Callable[[Inputs], list[Tensor]]
"""A batch of inputs → every output, each with the batch first."""

_TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Of the outputs' range. In single precision another order of summation was seen to make 3e-7 of it (ResNet-56)."""


class _Output:
    """One output over all batches: its range in the reference, the largest difference, and whether it is comparable."""

    def __init__(self) -> None:
        self.low, self.high, self.difference, self.comparable = float("inf"), float("-inf"), 0.0, True

    def add(self, wanted: Tensor, got: Tensor) -> None:
        """One more batch of it."""
        if wanted.shape != got.shape:
            self.comparable = False
            return
        wanted, got = wanted.detach().double().cpu(), got.detach().double().cpu()
        finite = wanted.isfinite()
        self.comparable &= torch.equal(finite, got.isfinite())
        if self.comparable and finite.any():
            self.low = min(self.low, float(wanted[finite].min()))
            self.high = max(self.high, float(wanted[finite].max()))
            self.difference = max(self.difference, float((wanted - got)[finite].abs().max()))

    @property
    def relative(self) -> float:
        """The difference as a fraction of the range; of an output that never changes, of its size."""
        scale = self.high - self.low or abs(self.high)
        return self.difference / scale if scale and scale < float("inf") else self.difference


def compared(
    reference: Outputs,
    candidate: Outputs,
    batches: Iterable[Inputs],
    *,
    against: Literal["network", "document"],
    runtimes: Mapping[str, str],
) -> ParityReport:
    """How far the candidate's outputs are from the reference's.

    Args:
        reference: what the file was made from.
        candidate: the file.
        batches: inputs of both, at least one batch.
        against: what the reference is.
        runtimes: what runs both, and their versions.

    Raises:
        EvaluationError: ``artifact_disagrees``, with the report among its extra members.
    """
    images, same, scores = 0, 0, True
    outputs: list[_Output] = []
    dtype = torch.float32
    for batch in batches:
        wanted, got = reference(batch), candidate(batch)
        outputs = outputs or [_Output() for _ in wanted]
        if len(got) != len(outputs):
            outputs[0].comparable = False
            break
        for output, one, other in zip(outputs, wanted, got, strict=True):
            output.add(one, other)
        images, dtype = images + len(batch), _coarsest(wanted)
        scores = scores and len(wanted) == 1 and _are_scores(wanted[0]) and wanted[0].shape == got[0].shape
        same += int((wanted[0].argmax(1).cpu() == got[0].argmax(1).cpu()).sum()) if scores else 0
    comparable = all(output.comparable for output in outputs)
    relative = max(output.relative for output in outputs) if comparable else None
    tolerance = _TOLERANCES.get(dtype, _TOLERANCES[torch.float32])
    report = ParityReport(
        reference=against,
        images=max(1, images),
        max_difference=max(output.difference for output in outputs) if comparable else None,
        max_relative_difference=relative,
        tolerance=tolerance,
        same_top1=same / images if scores and images else None,
        dtype=str(dtype).removeprefix("torch."),
        runtimes=dict(runtimes),
        agrees=relative is not None and relative <= tolerance,
    )
    if not report.agrees:
        raise _disagrees(report)
    return report


def outputs_of(network: nn.Module) -> Outputs:
    """A network's outputs, as a flat list of tensors."""

    @torch.no_grad()
    def outputs(images: Inputs) -> list[Tensor]:
        return [leaf for leaf in pytree.tree_leaves(images.into(network)) if isinstance(leaf, Tensor)]

    return outputs


def torch_runtime() -> dict[str, str]:
    """Torch's version, as reports name it."""
    return {"torch": str(torch.__version__)}


@contextmanager
def in_full_precision() -> Iterator[None]:
    """Without TF32 on a GPU, whose ten bits of mantissa would hide what is looked for."""
    with torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


def _coarsest(outputs: Sequence[Tensor]) -> torch.dtype:
    """Of the outputs' types the one that tolerates most; whole numbers are compared as if they were single floats."""
    found = [output.dtype for output in outputs if output.is_floating_point()]
    return max(found, key=lambda dtype: _TOLERANCES.get(dtype, 0.0), default=torch.float32)


def _are_scores(output: Tensor) -> bool:
    return output.ndim == 2 and output.shape[1] > 1 and output.is_floating_point()  # noqa: PLR2004 - (N, classes)


def _disagrees(report: ParityReport) -> EvaluationError:
    if report.max_relative_difference is None:
        got = "outputs of another number or shape, or not finite where they should be"
    else:
        got = f"outputs that differ by {report.max_relative_difference:.3g} of their range"
    return EvaluationError(
        "artifact_disagrees",
        f"the file that was written does not compute what the {report.reference} does, so it is not handed out",
        got=got,
        expected=f"at most {report.tolerance:g} of their range, on {report.images} images",
        mend="take another format, or report this with the model document and the versions in the report",
        parity=report.model_dump(mode="json"),
    )
