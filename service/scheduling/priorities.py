"""What goes first among the jobs of one study."""

from __future__ import annotations

from service.scheduling.requested_kinds import REQUESTED

__all__ = ["PRIORITY"]

PRIORITY = {
    "inspect": 0,
    "baseline": 1,
    "sensitivity": 2,
    **dict.fromkeys(REQUESTED, 3),
    "final": 4,
    "handed_back": 5,
    "trial": 6,
}
"""Smaller goes first."""
