"""What the agent and its evaluating child say to each other: one JSON object a line, over the child's pipes.

The child says :class:`Hello` when it has confined itself, and :class:`Ready` once it has tried its GPU, if it has one.
Then the agent sends a :class:`Assignment`, and the child answers one :class:`Report` to each, in order. In between it
may say which factors it :class:`Wants` of others; the agent looks for them and answers :class:`Fetched`. How far a
training is, it says in an :class:`Advance`, which is not answered. The child gets paths of local files and never a
token or a URL: whatever a hostile network does in there, it holds no credentials.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ranksearch.contracts.base import Sha256
from ranksearch.contracts.finetuning import TuningPoint, TuningScore
from ranksearch.contracts.jobs import Outcome, Task
from ranksearch.contracts.resources import Problem, SandboxMeasure

__all__ = [
    "MOST_FACTORS",
    "Advance",
    "Assignment",
    "Fetched",
    "Hello",
    "Ready",
    "Report",
    "Wants",
    "from_agent",
    "from_child",
]

MOST_FACTORS = 1000
"""In one message; what is beyond is computed here."""


class Message(BaseModel):
    """One line on a pipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def line(self) -> bytes:
        """The message as it goes over the pipe."""
        return self.model_dump_json(by_alias=True).encode() + b"\n"


class Hello(Message):
    """The child's first line, before it loads torch: what it is confined by."""

    sandbox: list[SandboxMeasure]


class Ready(Message):
    """The second line of a child on a GPU, or another accelerator: whether it works, confined as the child is."""

    problem: str | None = Field(default=None, description="why nothing can be computed on it")


class Assignment(Message):
    """One task, and where its files lie."""

    number: int
    task: Task
    files: dict[str, Path] = Field(description="sha256 → local file, for every blob the task names")
    output: Path = Field(description="where a task that makes a file puts it")


class Report(Message):
    """The outcome of an assignment, or the problem it met."""

    number: int
    outcome: Outcome | None = None
    problem: Problem | None = None
    retry: bool = Field(default=False, description="another attempt could end differently")
    holds: list[Sha256] = Field(default=[], max_length=64, description="models in the child's memory")
    factors: list[Sha256] = Field(
        default=[], max_length=MOST_FACTORS, description="keys of what it used and others may want: proxy.factor_key"
    )


class Wants(Message):
    """Factors that the child lacks, before it computes them: they may be had from the fleet."""

    number: int = Field(description="of the assignment")
    wants: list[Sha256] = Field(max_length=MOST_FACTORS, description="keys: proxy.factor_key")


class Fetched(Message):
    """The agent's answer: what was to be had is in the factor cache now."""

    number: int
    fetched: int = Field(description="how many")


class Advance(Message):
    """How far a training is, since the last one."""

    points: list[TuningPoint] = []
    before: TuningScore | None = None
    dense: TuningScore | None = None
    checkpoint: str | None = Field(default=None, max_length=100, description="a file in the assignment's output")
    checkpoint_step: int | None = None
    resumed_at: int | None = None


_FROM_AGENT: TypeAdapter[Assignment | Fetched] = TypeAdapter(Assignment | Fetched)
_FROM_CHILD: TypeAdapter[Report | Wants | Advance] = TypeAdapter(Report | Wants | Advance)


def from_agent(line: bytes) -> Assignment | Fetched:
    """A line of the agent's.

    Raises:
        ValueError: it is none.
    """
    return _FROM_AGENT.validate_json(line)


def from_child(line: bytes) -> Report | Wants | Advance:
    """A line of the child's, after its first one.

    Raises:
        ValueError: it is none.
    """
    return _FROM_CHILD.validate_json(line)
