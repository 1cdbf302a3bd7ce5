"""What the agent and its evaluating child say to each other: one JSON object a line, over the child's pipes.

The child says :class:`Hello` when it has confined itself. Then the agent sends a :class:`Assignment`, and the child
answers one :class:`Report` to each, in order. The child gets paths
of local files and never a token or a URL: whatever a hostile network does in there, it holds no credentials.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ranksearch.contracts.jobs import Outcome, Task
from ranksearch.contracts.resources import Problem, SandboxMeasure

__all__ = ["Assignment", "Hello", "Report"]


class Message(BaseModel):
    """One line on a pipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def line(self) -> bytes:
        """The message as it goes over the pipe."""
        return self.model_dump_json(by_alias=True).encode() + b"\n"


class Hello(Message):
    """The child's first line, before it loads torch: what it is confined by."""

    sandbox: list[SandboxMeasure]


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
