"""Whether Optuna's record of every study says the same as ours."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session

from ranksearch.contracts.checkups import Check, fail, ok, warn
from service.storage.tables import JobRow, StudyRow

__all__ = ["trials_agree"]

_ENDED: Final = {"done": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "cancelled": "FAIL"}


def trials_agree(session: Session) -> Check:
    """Compare, study by study, how many trials there are in each state.

    What Optuna was not told yet is news on its way while a service runs, not a disagreement.
    """
    if not inspect(session.connection()).has_table("trials"):
        return warn("trials", "Optuna has no tables here", "the next start of the service makes them")
    rows = session.execute(
        select(StudyRow.optuna_study, JobRow.state, func.count())
        .join(JobRow, JobRow.study_id == StudyRow.id)
        .where(JobRow.kind == "trial", JobRow.trial_number.is_not(None), JobRow.told)
        .group_by(StudyRow.optuna_study, JobRow.state)
    )
    ours: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for study, state, count in rows:
        if state in _ENDED:
            ours[study][_ENDED[state]] += count
    untold = (JobRow.kind == "trial", JobRow.state.in_(_ENDED), JobRow.told.is_(False))
    on_their_way = session.scalar(select(func.count()).select_from(JobRow).where(*untold)) or 0
    theirs: defaultdict[str, Counter[str]] = defaultdict(Counter)
    query = "SELECT s.study_name, t.state, count(*) FROM trials t JOIN studies s ON s.study_id = t.study_id"
    for study, state, count in session.execute(text(f"{query} GROUP BY s.study_name, t.state")):
        theirs[study][str(state)] = count
    differ = [
        f"{study}: {sum(ours[study].values())} ended here, {_ended(theirs[study])} there"
        for study in sorted(ours)
        if any(ours[study][word] > theirs[study][word] for word in ("COMPLETE", "PRUNED"))
    ]
    if differ:
        return fail("trials", f"Optuna does not agree: {'; '.join(differ)[:300]}", "our rows are the truth; report it")
    if on_their_way:
        return ok("trials", f"Optuna's and ours agree; {on_their_way} are on their way")
    return ok("trials", f"Optuna's and ours agree, in {len(ours)} studies")


def _ended(counts: Counter[str]) -> int:
    return sum(counts[word] for word in ("COMPLETE", "PRUNED", "FAIL"))
