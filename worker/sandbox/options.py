"""What the operator of a worker decides about the sandbox, and the policy that follows from it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.sandbox.memory import memory_of_machine
from worker.sandbox.policy import Policy
from worker.sandbox.readable import device_files

__all__ = ["SandboxOptions"]

_SHARE_OF_MEMORY = 0.9
_MULTI_PROCESS_SERVICE = "CUDA_MPS_PIPE_DIRECTORY"
_ITS_DEFAULT_DIRECTORY = "/tmp/nvidia-mps"  # noqa: S108 - where NVIDIA's daemon puts it
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - CUDA's own


@dataclass(frozen=True)
class SandboxOptions:
    """Of ``ranksearch worker``.

    Attributes:
        enabled: whether the child confines itself.
        required: whether a child in which a measure is not in force is refused.
        memory_bytes: memory a child may take; None: nine tenths of the machine's.
        reads: files and directories that the child may read besides its libraries and its job's files.
    """

    enabled: bool = True
    required: bool = False
    memory_bytes: int | None = None
    reads: tuple[Path, ...] = ()

    @property
    def memory_limit(self) -> int | None:
        """Bytes; None: nothing is known of this machine's memory."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        whole = memory_of_machine()
        return None if whole is None else int(_SHARE_OF_MEMORY * whole)

    def policy(self, *, device: str, reads: Iterable[Path], writes: Iterable[Path], witness: Path) -> Policy:
        """The policy of a child of this process.

        Args:
            device: torch device it computes on.
            reads: where its job's files lie. Must exist, as what it writes.
            writes: its directories.
            witness: a file outside of all of these.
        """
        on_cpu = device.partition(":")[0] == "cpu"
        service = [] if on_cpu else _multi_process_service()
        shared = [] if on_cpu else [_SHARED_MEMORY]
        return Policy(
            agent=os.getpid(),
            home=Path.home(),
            reads=[*self.reads, *reads],
            writes=[*writes, *shared, *service],
            devices=device_files(device),
            driver=not on_cpu,
            local_sockets=bool(service),
            data_bytes=self.memory_limit if on_cpu else None,
            witness=witness,
        )


def _multi_process_service() -> list[Path]:
    """The directory of CUDA's multi-process service, where its daemon runs: clients reach it through files there."""
    directory = Path(os.environ.get(_MULTI_PROCESS_SERVICE) or _ITS_DEFAULT_DIRECTORY)
    return [directory] if (directory / "control").exists() else []
