"""The agent's handle on its evaluating child: start it, give it work, end it."""

from __future__ import annotations

import os
import site
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ranksearch.contracts.errors import EvaluationError, RankSearchError, UnavailableError
from ranksearch.contracts.jobs import Outcome, Task
from ranksearch.contracts.resources import SandboxMeasure
from ranksearch.local import module_environment
from worker.child_process import LONGEST_LINE, ChildProcess
from worker.protocol import Advance, Assignment, Fetched, Hello, Ready, Report, from_child
from worker.sandbox import SandboxOptions, memory_held
from worker.workspace import Workspace

__all__ = ["EvaluationFailed", "Evaluator", "Interrupted"]

# What a child needs to find Python, its libraries and its devices. Everything else, tokens first, stays out.
_ENVIRONMENT = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "SYSTEMROOT"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF"),
    *("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"),
)
Message = TypeVar("Message")

_POLL_SECONDS = 0.1
_MOST_LINES = 100
_MOST_ADVANCES = 1_000_000
_START_SECONDS = 120.0


class Interrupted(Exception):
    """The evaluation was ended because its agent no longer wants the result."""


class EvaluationFailed(Exception):
    """The child reported a problem, crashed or hung.

    Attributes:
        error: what to report to the service.
        retry: another attempt could end differently.
    """

    def __init__(self, error: RankSearchError, *, retry: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry = retry


class Evaluator:
    """One child process at a time, started when first needed and again after a crash, a hang or an interruption.

    Args:
        device: torch device the child computes on.
        cache_dir: where the child keeps its factor cache.
        reads: directories in which tasks' files lie.
        threads: CPU threads for the child's torch; 0 leaves torch's own choice.
        time_limit: seconds one evaluation may take.
        sandbox: how the child is confined.
        fetch: puts those factors of these keys into the cache that others have; returns how many.
        command: overrides the child's command line, for tests.

    Attributes:
        holds: sha256 of the models that the child has in memory.
        factors: keys of the factors that the last task used and that others may want.
    """

    def __init__(
        self,
        *,
        device: str = "cpu",
        cache_dir: Path,
        reads: Sequence[Path] = (),
        threads: int = 0,
        time_limit: float = 3600.0,
        sandbox: SandboxOptions | None = None,
        fetch: Callable[[Sequence[str]], int] | None = None,
        command: list[str] | None = None,
    ) -> None:
        self.holds: list[str] = []
        self.factors: list[str] = []
        self._fetch = fetch
        self._device = device
        self._cache_dir = cache_dir.absolute()
        self._reads = [path.absolute() for path in reads]
        self._threads = threads
        self._time_limit = time_limit
        self._sandbox = sandbox or SandboxOptions()
        self._command = command
        self._workspace: Workspace | None = None
        self._child: ChildProcess | None = None
        self._measures: list[SandboxMeasure] = []
        self._number = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._child.pid if self._child is not None else None

    def confinement(self) -> list[SandboxMeasure]:
        """What the child is confined by, as it found out; it is started if there is none.

        Raises:
            EvaluationFailed: it did not start.
            UnavailableError: a measure that is required is not in force, or the device does not work.
        """
        self._running_child()
        return self._measures

    @contextmanager
    def output(self) -> Iterator[Path]:
        """A directory for a task's files, which the child may write; removed afterwards."""
        with self._working_directories().output() as made:
            yield made

    @contextmanager
    def collected(self, made: Path) -> Iterator[Path]:
        """A file that a task made in its :meth:`output`, moved out of the child's reach, for as long as that lasts.

        Raises:
            OSError: it is not there, or no file of its own.
        """
        with self._working_directories().collected(made) as path:
            yield path

    def run(
        self,
        task: Task,
        files: Mapping[str, Path],
        output: Path,
        unwanted: Callable[[], bool],
        advanced: Callable[[Advance], object] = lambda _: None,
    ) -> Outcome:
        """Have the child do one task.

        Args:
            task: what to do.
            files: sha256 → local file, for every blob the task names.
            output: where a task that makes a file puts it: of :meth:`output`.
            unwanted: asked several times a second; True ends the child.
            advanced: is told how far a training is.

        Raises:
            EvaluationFailed: the task gave no result.
            Interrupted: ``unwanted`` said so.
            UnavailableError: as :meth:`confinement`.
        """
        child = self._running_child()
        self._number += 1
        local = {sha256: path.absolute() for sha256, path in files.items()}
        self.factors = []
        self._send(child, Assignment(number=self._number, task=task, files=local, output=output))
        report = self._await_report(child, unwanted, advanced)
        self.holds, self.factors = report.holds, report.factors
        if report.number != self._number:
            raise self._ended(f"the evaluating process answered assignment {report.number}, not {self._number}")
        if report.problem is not None:
            error = RankSearchError.from_problem(report.problem.model_dump(exclude_none=True))
            raise EvaluationFailed(error, retry=report.retry)
        if report.outcome is None:
            raise self._ended("the evaluating process answered neither an outcome nor a problem")
        return report.outcome

    def stop(self) -> None:
        """End the child, politely first, and remove its files. Harmless when there is none."""
        self._end_child(politely=True)
        workspace, self._workspace = self._workspace, None
        if workspace is not None:
            workspace.remove()

    def _working_directories(self) -> Workspace:
        if self._workspace is None:
            self._workspace = Workspace()
        return self._workspace

    def _running_child(self) -> ChildProcess:
        if self._child is not None and self._child.running:
            return self._child
        self._end_child(politely=False)
        workspace = self._working_directories()
        self._child = ChildProcess(
            self._command or self._command_line(workspace),
            environment=_environment(workspace.shared),
            directory=workspace.shared,
        )
        hello = self._parsed(Hello.model_validate_json, self._first_line(self._child))
        self._measures = [*hello.sandbox, *self._own_measures(self._child)]
        self._check_required()
        if self._device != "cpu":
            self._check_device(self._parsed(Ready.model_validate_json, self._first_line(self._child)))
        return self._child

    def _first_line(self, child: ChildProcess) -> bytes:
        """The next of those that a child says unasked."""
        line = child.receive(_START_SECONDS)
        if line is None:
            raise self._ended(f"the evaluating process did not start within {_START_SECONDS:g} s")
        if not line:
            raise self._crashed(child, "at its start")
        return line

    def _command_line(self, workspace: Workspace) -> list[str]:
        command = [
            *(sys.executable, "-B", "-m", "worker.child", "--device", self._device),
            *("--cache-dir", str(self._cache_dir), "--threads", str(self._threads)),
        ]
        if self._sandbox.enabled:
            for directory in (self._cache_dir, *self._reads):
                directory.mkdir(parents=True, exist_ok=True)  # what is not there cannot be allowed
            policy = self._sandbox.policy(
                device=self._device,
                reads=self._reads,
                writes=[self._cache_dir, workspace.shared],
                witness=workspace.witness,
            )
            command += ["--policy", policy.model_dump_json()]
        return command

    def _own_measures(self, child: ChildProcess) -> list[SandboxMeasure]:
        """What the agent does for itself."""
        measures = [SandboxMeasure(name="time limit", in_force=True)]
        if self._sandbox.memory_limit is None or memory_held(child.pid) is None:
            reason = "how much memory a process holds is not known on this system"
            return [*measures, SandboxMeasure(name="watched memory", in_force=False, reason=reason)]
        return [*measures, SandboxMeasure(name="watched memory", in_force=True)]

    def _check_required(self) -> None:
        lacking = [measure for measure in self._measures if not measure.in_force]
        if self._sandbox.required and lacking:
            self._end_child(politely=False)
            raise UnavailableError(
                "sandbox_unavailable",
                "the evaluating process cannot be confined here as --require-sandbox asks for",
                got="; ".join(f"{measure.name}: {measure.reason}" for measure in lacking),
                expected="every measure in force",
                mend="see docs/sandbox.md for what each measure needs, or start without --require-sandbox",
            )

    def _check_device(self, told: Ready) -> None:
        """A worker whose device does not work would fail every job that it takes."""
        if told.problem is not None:
            self._end_child(politely=False)
            raise UnavailableError(
                "device_unusable",
                f"the evaluating process cannot use {self._device}",
                got=told.problem,
                expected="a device that computes",
                mend="try --no-sandbox: if that helps, the driver needs what docs/sandbox.md lists as refused;"
                " otherwise ask ranksearch doctor, or evaluate with --devices cpu",
            )

    def _send(self, child: ChildProcess, message: Assignment | Fetched) -> None:
        try:
            child.send(message.line())
        except OSError:
            raise self._crashed(child) from None

    def _await_report(
        self, child: ChildProcess, unwanted: Callable[[], bool], advanced: Callable[[Advance], object]
    ) -> Report:
        """The report; until then what the child wants of others is fetched. A training that advances gets more time."""
        deadline, wants, advances = time.monotonic() + self._time_limit, 0, 0
        while wants < _MOST_LINES and advances < _MOST_ADVANCES:
            told = self._parsed(from_child, self._await_line(child, unwanted, deadline))
            if isinstance(told, Report):
                return told
            if isinstance(told, Advance):
                advances += 1
                advanced(told)
                deadline = time.monotonic() + self._time_limit
                continue
            wants += 1
            fetched = 0 if self._fetch is None else self._fetch(told.wants)
            self._send(child, Fetched(number=told.number, fetched=fetched))
        raise self._ended("the evaluating process asks for factors, or tells of its progress, again and again")

    def _await_line(self, child: ChildProcess, unwanted: Callable[[], bool], deadline: float) -> bytes:
        while True:
            line = child.receive(_POLL_SECONDS)
            if line:
                return line
            if line is not None:
                raise self._crashed(child)
            if unwanted():
                self._end_child(politely=False)
                raise Interrupted
            if time.monotonic() > deadline:
                raise self._ended(
                    f"the evaluation did not end within {self._time_limit:g} s and was stopped",
                    code="evaluation_timeout",
                    mend="start the worker with a larger --time-limit, or use fewer validation images",
                )
            self._check_memory(child)

    def _check_memory(self, child: ChildProcess) -> None:
        """The limit that also holds on a device, and for memory that the kernel's own limit does not count."""
        limit, held = self._sandbox.memory_limit, memory_held(child.pid)
        if limit is not None and held is not None and held > limit:
            raise self._ended(
                f"the evaluation took {held >> 20} MiB of memory and was stopped",
                code="evaluation_out_of_memory",
                expected=f"at most {limit >> 20} MiB",
                mend="submit with a smaller batch_size, or start the worker with a larger --memory-limit",
            )

    def _parsed(self, parse: Callable[[bytes], Message], line: bytes) -> Message:
        if len(line) < LONGEST_LINE:
            with suppress(ValueError):
                return parse(line)
        raise self._ended("the evaluating process wrote something that is no report", got=line[:200])

    def _end_child(self, *, politely: bool) -> None:
        child, self._child = self._child, None
        self.holds = []
        if child is not None:
            child.end(politely=politely)

    def _ended(
        self,
        what: str,
        *,
        code: str = "evaluation_crashed",
        got: object = None,
        expected: object = None,
        mend: str | None = None,
    ) -> EvaluationFailed:
        self._end_child(politely=False)
        return EvaluationFailed(EvaluationError(code, what, got=got, expected=expected, mend=mend), retry=True)

    def _crashed(self, child: ChildProcess, when: str = "in the middle of an evaluation") -> EvaluationFailed:
        status = child.wait()
        if status is None:
            return self._ended("the evaluating process closed its pipe")
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return self._ended(f"the evaluating process {how} {when}")


def _environment(home: Path) -> dict[str, str]:
    """The child's: what it needs, and a home that holds nothing of the user's."""
    ours = module_environment()
    environment = {name: ours[name] for name in _ENVIRONMENT if name in ours}
    if "PYTHONPATH" in environment:  # the child has another working directory
        paths = filter(None, environment["PYTHONPATH"].split(os.pathsep))
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths)
    environment.update(dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), str(home)))
    environment["PYTHONUSERBASE"] = site.getuserbase()  # found through HOME otherwise
    return environment
