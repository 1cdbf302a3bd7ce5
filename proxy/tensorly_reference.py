"""TensorLy's solvers behind the same interface: the reference, for whoever wants it and for the tests.

TensorLy's default backend is NumPy and its choice is global to the process: here the kernel goes in as a
NumPy array inside a thread-local backend context, so that nobody else's choice changes and the result is the
same whatever it is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from proxy.cp3 import CP
from proxy.factors import Factors
from proxy.stability import balanced
from proxy.tucker2 import core_error

if TYPE_CHECKING:
    from proxy.kernel import Kernel

__all__ = ["tensorly_cp3", "tensorly_tucker2"]


def tensorly_cp3(kernel: Kernel, rank: int, *, max_sweeps: int, tolerance: float, seed: int) -> CP:
    """``tensorly.decomposition.parafac``, started from its own SVDs.

    Where those lack directions (a kernel that is zero but for one input channel), its normal equations are singular: it
    starts at random then, with its Tikhonov term at round-off.
    """
    import tensorly as tl  # noqa: PLC0415 - a slow import that only this solver needs
    from numpy.linalg import LinAlgError  # noqa: PLC0415 - NumPy is TensorLy's
    from tensorly.decomposition import parafac  # noqa: PLC0415 - as above

    fit = partial(
        parafac,
        _array(kernel),
        rank=rank,
        n_iter_max=max_sweeps,
        tol=tolerance,
        init="svd",
        random_state=seed,
        return_errors=True,
    )
    with tl.backend_context("numpy", local_threadsafe=True):
        try:
            (weights, factors), errors = fit()
        except LinAlgError:
            (weights, factors), errors = fit(init="random", l2_reg=_TIKHONOV)
    out, inn, space = (torch.as_tensor(factor).to(kernel.tensor) for factor in factors)
    out = out * torch.as_tensor(weights).to(out)
    scales, _ = balanced((out[None], inn[None], space[None]))
    out, inn, space = (factor * scale[0] for factor, scale in zip((out, inn, space), scales, strict=True))
    rest = torch.einsum("tr,sr,dr->tsd", out, inn, space) - kernel.tensor
    error = float(torch.linalg.vector_norm(rest, dtype=torch.float64))
    return CP(out, inn, space, error=error, sweeps=len(errors), converged=len(errors) < max_sweeps)


_TIKHONOV = 1e-10
"""Of kernels of unit norm, whose factors have columns of about that: far below any error of interest."""


def tensorly_tucker2(
    kernel: Kernel, ranks: tuple[int, int], *, max_sweeps: int, tolerance: float, seed: int
) -> Factors:
    """``tensorly.decomposition.partial_tucker`` over the two channel modes."""
    import tensorly as tl  # noqa: PLC0415 - a slow import that only this solver needs
    from tensorly.decomposition import partial_tucker  # noqa: PLC0415 - as above

    with tl.backend_context("numpy", local_threadsafe=True):
        (core, (out, inn)), errors = partial_tucker(
            _array(kernel),
            rank=list(ranks),
            modes=[0, 1],
            n_iter_max=max_sweeps,
            tol=tolerance,
            init="svd",
            random_state=seed,
        )
    arrays = {"out": out, "core": core, "in": inn}
    found = {name: torch.as_tensor(array).to(kernel.tensor) for name, array in arrays.items()}
    tensors = {name: kernel.finished(x, kernel.scale if name == "core" else 1.0) for name, x in found.items()}
    error = core_error(found["core"])
    converged = len(errors) < max_sweeps
    return Factors("tucker2", ranks, kernel.shape, tensors, error, None, None, len(errors), converged, "tensorly")


def _array(kernel: Kernel) -> Any:  # noqa: ANN401 - a NumPy array; NumPy is not imported for a type
    return kernel.tensor.cpu().numpy()
