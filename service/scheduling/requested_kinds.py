"""Jobs that people ask for, of a trial that is complete; there is one of a kind for a trial.

They are no part of the search, which neither waits for them nor ends them.
"""

from __future__ import annotations

from typing import Final

from service.scheduling.artifact_kinds import ARTIFACT_KINDS

__all__ = ["LATENCY", "REQUESTED"]

LATENCY: Final = "latency"
"""Times the network of a trial beside the dense one."""
REQUESTED: Final = (*ARTIFACT_KINDS, LATENCY)
