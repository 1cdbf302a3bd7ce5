"""How to solve: the options that decide the factors of a weight, method and ranks."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.cp3 import CPOptions
from proxy.errors import UnsupportedMethod
from proxy.stability import OBJECTIVES

__all__ = ["SOLVERS", "SolverOptions"]

SOLVERS = ("epc", "als", "tensorly")


@dataclass(frozen=True)
class SolverOptions:
    """Everything that can change the factors of a given weight, method and ranks.

    Args:
        solver: ``epc`` (damped ALS, then the error-preserving correction), ``als`` (plain), or ``tensorly`` (the
            reference).
        max_error_slack: EPC only: how far the relative error may rise above ALS's, as a fraction of it.
        seed: of the noise on the start.
        max_sweeps: most ALS or HOOI sweeps; None fits it to the size of the kernel.
        tolerance: stop ALS or HOOI when a sweep lowers the error by less than this fraction of it.
        objective: EPC only: what is kept small, ``sensitivity`` or ``energy`` (of the rank-one terms).
    """

    solver: str = "epc"
    max_error_slack: float = 0.01
    seed: int = 0
    max_sweeps: int | None = None
    tolerance: float = 1e-3
    objective: str = "sensitivity"

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise UnsupportedMethod("there is no such solver", got=repr(self.solver), expected=f"one of {SOLVERS}")
        if self.objective not in OBJECTIVES:
            raise UnsupportedMethod(
                "there is no such objective", got=repr(self.objective), expected=f"one of {tuple(OBJECTIVES)}"
            )
        if not 0 <= self.max_error_slack < 1:
            raise UnsupportedMethod(
                "the slack is a fraction of the error", got=self.max_error_slack, expected="0 or more, below 1"
            )
        sweeps: object = self.max_sweeps  # as the caller gave it, whatever the annotation says
        if sweeps is not None and not (isinstance(sweeps, int) and sweeps >= 1):
            raise UnsupportedMethod("sweeps are counted", got=sweeps, expected="a whole number from 1, or None")
        if not self.tolerance >= 0:  # false for NaN
            raise UnsupportedMethod(
                "the tolerance is a fraction of the error", got=self.tolerance, expected="0 or more"
            )

    @property
    def cp(self) -> CPOptions:
        """Those of them that the CP solver takes."""
        return CPOptions(
            stabilise=self.solver == "epc",
            slack=self.max_error_slack,
            objective=self.objective,
            seed=self.seed,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
        )

    def deciding(self, method: str) -> tuple[object, ...]:
        """The options that decide the factors of this method, for a cache's key."""
        if method in ("svd", "spatial_svd"):
            return ()
        if self.solver == "tensorly" or method in ("cp3", "tucker2_cp3"):
            stabilised = (self.max_error_slack, self.objective) if self.solver == "epc" else None
            return (self.solver, stabilised, self.seed, self.max_sweeps, self.tolerance)
        return (self.max_sweeps, self.tolerance)
