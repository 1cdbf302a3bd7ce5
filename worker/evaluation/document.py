"""A network written as a model document, read anew and compared with itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from proxy import Inputs
from ranksearch.contracts.artifacts import ParityReport
from ranksearch.documents import load, pack
from worker.evaluation.made import named_by_sha256
from worker.evaluation.parity import compared, in_full_precision, outputs_of, torch_runtime
from worker.evaluation.session import Session

__all__ = ["write_document"]


def write_document(
    session: Session, network: nn.Module, example: Inputs, validation: Iterable[Inputs], output: Path
) -> tuple[str, ParityReport]:
    """Write the document into ``output``, named by its sha256.

    It is read anew and compared with the network in memory: both run here, on the session's device.

    Args:
        session: whose device they run on.
        network: in eval mode; moved to the CPU and back.
        example: the inputs of one image.
        validation: batches of inputs on which both are compared.
        output: a folder.

    Returns:
        Its sha256, and how true it is.

    Raises:
        DocumentError: the network cannot be packed.
    """
    made, example = output / "document", example.to("cpu")
    pack(network.cpu(), example.joined([example]).positional, made, verify=False)
    sha256 = named_by_sha256(made)
    written = load(output / sha256).to(session.device)
    with in_full_precision():
        parity = compared(
            outputs_of(network.to(session.device)),
            outputs_of(written),
            validation,
            against="network",
            runtimes=torch_runtime(),
        )
    return sha256, parity
