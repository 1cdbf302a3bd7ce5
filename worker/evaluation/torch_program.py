"""A network as a file of ``torch.export``: what C++ and other Python programs run without any of our code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from worker.evaluation.parity import Outputs, outputs_of

__all__ = ["read_own_program", "write_program"]


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write a traced program to a ``.pt2`` file."""
    torch.export.save(program, str(path))


def read_own_program(path: Path) -> Outputs:
    """What a ``.pt2`` file computes that this very process has just written.

    ``torch.export.load`` runs code from a file that somebody else has made: nothing that was uploaded, downloaded or
    written by another process may ever be given to it.
    """
    return outputs_of(torch.export.load(str(path)).module())
