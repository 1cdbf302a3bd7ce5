"""What an evaluation can die of, told in the product's error tree.

The numerics stand alone and have errors of their own: this is the one place where they are translated.
"""

from __future__ import annotations

import torch

from proxy import ProxyError
from ranksearch.contracts.errors import DatasetError, EvaluationError, RankSearchError, RanksError

__all__ = ["as_problem", "ran_out_of_memory", "refused_images"]

_RANKS = {
    "unknown_layer": "unknown_layer",
    "unsupported_layer": "layer_stays_dense",
    "unsupported_method": "method_not_for_layer",
    "rank_out_of_range": "rank_out_of_range",
}

# Of torch's allocator in main memory, of cuBLAS and of CUDA itself: RuntimeErrors without a class of their own.
_OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")


def as_problem(error: Exception) -> tuple[RankSearchError, bool]:
    """The error to report, and whether another attempt could end differently."""
    if isinstance(error, RankSearchError):
        return error, error.code == "evaluation_out_of_memory"  # on a larger device
    if isinstance(error, ProxyError):
        return _from_proxy(error), False
    if ran_out_of_memory(error):
        return (
            EvaluationError(
                "evaluation_out_of_memory",
                f"the device has not enough memory for this evaluation: {error}",
                mend="submit with a smaller batch_size, or start a worker on a larger device",
            ),
            True,
        )
    return (
        EvaluationError(
            "evaluation_failed",
            f"the evaluation raised {type(error).__name__}",
            got=str(error),
            mend="the worker's log has the traceback",
        ),
        False,
    )


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether this is about memory: of a device, or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def refused_images(error: RuntimeError, shapes: tuple[tuple[int, ...], ...]) -> DatasetError:
    """The network raised on a batch of images: say so in terms of the data set."""
    return DatasetError(
        "dataset_shape_mismatch",
        f"the network does not take these images: {error}",
        got=f"images of shape {' and '.join(str(shape) for shape in shapes)}",
        mend="pack a data set of the size and the number of channels that the network was packed with",
    )


def _from_proxy(error: ProxyError) -> RankSearchError:
    kind: type[RankSearchError]
    where = "" if error.layer is None else f"layer {error.layer!r}: "
    if error.code in _RANKS:
        kind, code = RanksError, _RANKS[error.code]
    else:
        kind, code = EvaluationError, "evaluation_not_finite" if error.code == "not_finite" else "evaluation_failed"
    return kind(code, where + error.detail, got=error.got, expected=error.expected, mend=error.mend)
