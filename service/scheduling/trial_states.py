"""What the wire calls the states of a trial's job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ranksearch.contracts.studies import TrialState

__all__ = ["TRIAL_STATES"]

TRIAL_STATES: Final[Mapping[str, TrialState]] = {
    "waiting": "WAITING",
    "leased": "RUNNING",
    "done": "COMPLETE",
    "pruned": "PRUNED",
    "failed": "FAIL",
    "cancelled": "FAIL",
}
