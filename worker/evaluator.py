"""The agent's handle on its evaluating child: start it, give it work, end it."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ranksearch.contracts.errors import EvaluationError, RankSearchError
from ranksearch.contracts.jobs import Outcome, Task
from worker.protocol import Assignment, Report

__all__ = ["EvaluationFailed", "Evaluator", "Interrupted"]

log = logging.getLogger(__name__)

# What a child needs to find Python, its libraries and its devices. Everything else, tokens first, stays out.
_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"),
)
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 2.0


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
        command: overrides the child's command line, for tests.
        device: torch device the child computes on.
        cache_dir: where the child keeps its factor cache.
        threads: CPU threads for the child's torch; 0 leaves torch's own choice.
        time_limit: seconds one evaluation may take.
    """

    def __init__(
        self,
        *,
        device: str = "cpu",
        cache_dir: Path,
        threads: int = 0,
        time_limit: float = 3600.0,
        command: list[str] | None = None,
    ) -> None:
        self._command = command or [
            *(sys.executable, "-m", "worker.child", "--device", device),
            *("--cache-dir", str(cache_dir), "--threads", str(threads)),
        ]
        self._time_limit = time_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._reports: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._number = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._process.pid if self._process is not None else None

    def run(self, task: Task, files: Mapping[str, Path], output: Path, unwanted: Callable[[], bool]) -> Outcome:
        """Have the child do one task.

        Args:
            task: what to do.
            files: sha256 → local file, for every blob the task names.
            output: where a task that makes a file puts it.
            unwanted: asked several times a second; True ends the child.

        Raises:
            EvaluationFailed: the task gave no result.
            Interrupted: ``unwanted`` said so.
        """
        process = self._running_child()
        self._number += 1
        assignment = Assignment(number=self._number, task=task, files=dict(files), output=output)
        try:
            assert process.stdin is not None  # noqa: S101 - it was opened as a pipe
            process.stdin.write(assignment.line())
            process.stdin.flush()
        except OSError:
            raise self._crashed(process) from None
        report = self._await_report(process, unwanted)
        if report.number != self._number:
            raise self._ended(f"the evaluating process answered assignment {report.number}, not {self._number}")
        if report.problem is not None:
            error = RankSearchError.from_problem(report.problem.model_dump(exclude_none=True))
            raise EvaluationFailed(error, retry=report.retry)
        if report.outcome is None:
            raise self._ended("the evaluating process answered neither an outcome nor a problem")
        return report.outcome

    def stop(self) -> None:
        """End the child, politely first. Harmless when there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError:  # it had died with a message in the pipe
                log.debug("the evaluating process was gone already")
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            close_fds=True,
            start_new_session=True,  # Ctrl-C in a terminal is for the agent, which then ends the child
        )
        self._reports = queue.SimpleQueue()
        threading.Thread(target=_forward, args=(self._process, self._reports), daemon=True).start()
        return self._process

    def _await_report(self, process: subprocess.Popen[bytes], unwanted: Callable[[], bool]) -> Report:
        deadline = time.monotonic() + self._time_limit
        while True:
            try:
                line = self._reports.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if unwanted():
                    self._kill()
                    raise Interrupted from None
                if time.monotonic() > deadline:
                    self._kill()
                    raise EvaluationFailed(
                        EvaluationError(
                            "evaluation_timeout",
                            f"the evaluation did not end within {self._time_limit:g} s and was stopped",
                            mend="start the worker with a larger --time-limit, or use fewer validation images",
                        ),
                        retry=True,
                    ) from None
                continue
            if not line:
                raise self._crashed(process)
            try:
                return Report.model_validate_json(line)
            except ValueError:
                raise self._ended("the evaluating process wrote something that is no report", got=line[:200]) from None

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        self.stop()

    def _ended(self, what: str, *, got: object = None) -> EvaluationFailed:
        self._kill()
        return EvaluationFailed(EvaluationError("evaluation_crashed", what, got=got), retry=True)

    def _crashed(self, process: subprocess.Popen[bytes]) -> EvaluationFailed:
        try:
            code = process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return self._ended("the evaluating process closed its pipe")
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"
        return self._ended(f"the evaluating process {how} in the middle of an evaluation")


def _forward(process: subprocess.Popen[bytes], reports: queue.SimpleQueue[bytes]) -> None:
    """Move lines from the child's pipe into a queue, then b"" at its end: pipes have no portable time-out."""
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    try:
        for line in process.stdout:
            reports.put(line)
    except ValueError:  # closed by stop() meanwhile
        pass
    finally:
        reports.put(b"")
