"""What the demonstration does, step by step, and what it shows of it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ranksearch.client import Client, StudyHandle
from ranksearch.contracts.errors import UnavailableError
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.studies import Best, Trial
from ranksearch.contracts.wording import accuracy as per_cent
from ranksearch.contracts.wording import better, count, metric_value, origin
from ranksearch.local import LocalDeployment
from ranksearch.terminal.answers import layers_table

if TYPE_CHECKING:
    from torch import nn

    from ranksearch.demo.network import Digits

__all__ = ["run"]


def run(
    *, trials: int = 40, budget: str = "40%", seed: int = 0, keep: bool = False, console: Console | None = None
) -> Best:
    """Train a network, have its ranks searched by a service and a worker started for it, show what came out.

    Args:
        trials: rank vectors to try.
        budget: upper bound on the macs, per cent of the dense network's or absolute.
        seed: of the training and of the search; the same seed tells the same story on the same machine.
        keep: leave service and worker running afterwards, until Ctrl-C.
        console: where the story is told.

    Returns:
        The best trial, as the service answered it.

    Raises:
        UnavailableError: scikit-learn, the service or the worker is not installed.
    """
    console = console or Console(highlight=False)
    _check_installed()
    with tempfile.TemporaryDirectory(prefix="ranksearch-demo-") as folder:
        work = Path(folder)
        digits, dense = _trained(console, seed)
        _packed(console, work, digits, dense)
        _step(console, 3, "Start the service (SQLite and a directory) and one worker")
        with LocalDeployment(work / "data", workers=1) as local, local.client() as client:
            console.print(f"   {local.url}")
            study = _searched(console, client, work, trials=trials, budget=budget, seed=seed)
            best = _shown(console, client, study, work, digits, dense)
            if keep:
                _hold(console, local)
    console.print("\nEverything that was started has been stopped.", style="dim")
    if not keep:
        console.print("To look around in a browser, too: ranksearch demo --keep (make demo DEMO=--keep)", style="dim")
    return best


def _trained(console: Console, seed: int) -> tuple[Digits, nn.Module]:
    from ranksearch.demo import network  # noqa: PLC0415 - torch and scikit-learn are extras

    _step(console, 1, "Train a small residual network with BatchNorm on scikit-learn's 8×8 digits")
    start = time.perf_counter()
    digits = network.load_digits()
    dense = network.train(digits, seed=seed)
    right = network.accuracy(dense, digits, digits.held_out)
    seconds = time.perf_counter() - start
    console.print(f"   {seconds:.0f} s; {right:.1%} of {len(digits.held_out[1])} held-out images right")
    return digits, dense


def _packed(console: Console, work: Path, digits: Digits, dense: nn.Module) -> None:
    from ranksearch.documents import pack, pack_data  # noqa: PLC0415 - torch is an extra

    _step(console, 2, "Pack the network and its images into documents: safetensors, no pickle")
    pack(dense, (digits.normalised(digits.training[0][:2]),), work / "digits.safetensors")
    # Calibration images are ones the network was trained on; validation images it has never seen.
    for name, part in (("calibration", digits.training), ("validation", digits.validation)):
        pack_data(*part, work / f"{name}.safetensors", mean=digits.mean, std=digits.std, layout="NHWC")
    console.print(f"   {(work / 'digits.safetensors').stat().st_size / 1e6:.2f} MB")


def _searched(console: Console, client: Client, work: Path, *, trials: int, budget: str, seed: int) -> StudyHandle:
    _step(console, 4, f"Upload, and search the ranks within {budget} of the MACs in {trials} trials")
    study = client.submit(
        work / "digits.safetensors",
        calibration=work / "calibration.safetensors",
        validation=work / "validation.safetensors",
        budget=budget,
        n_trials=trials,
        seed=seed,
        name="digits",
    )
    _follow(console, client, study)
    return study


def _shown(console: Console, client: Client, study: StudyHandle, work: Path, digits: Digits, dense: nn.Module) -> Best:
    from ranksearch.demo.network import accuracy  # noqa: PLC0415 - torch is an extra
    from ranksearch.documents import load  # noqa: PLC0415 - as above

    best = study.best()
    _step(console, 5, "The best ranks")
    console.print(layers_table(best))
    _step(console, 6, "Pull the compressed network and evaluate it here, on the held-out images")
    small = load(study.pull(work / "compressed.safetensors"))
    held_out = [accuracy(network, digits, digits.held_out) for network in (dense, small)]
    console.print(summary_table(best, *held_out))
    assert client.studies.best(study.id) == best  # noqa: S101 - what was just claimed
    return best


def summary_table(best: Best, dense_held_out: float, compressed_held_out: float) -> Table:
    """Dense against compressed."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for column in ("dense", "compressed"):
        table.add_column(column, justify="right")
    table.add_column("")
    dense, compressed = (None if result is None else result.accuracy for result in (best.dense_result, best.result))
    if dense is not None and compressed is not None:
        table.add_row("accuracy, validation", f"{dense:.1%}", f"{compressed:.1%}")
    table.add_row("accuracy, held out", f"{dense_held_out:.1%}", f"{compressed_held_out:.1%}")
    for word, share in (("MACs", best.macs), ("parameters", best.params)):
        fewer = f"({share.fraction:.1%} remain: {share.compression_ratio:.1f}× fewer)"
        table.add_row(word, count(share.dense), count(share.compressed), fewer)
    return table


def _step(console: Console, number: int, what: str) -> None:
    console.print(f"\n[bold cyan]{number}[/] [bold]{what}[/]")


def _check_installed() -> None:
    try:
        import sklearn  # noqa: F401, PLC0415 - to see whether it is there
        import torch  # noqa: F401, PLC0415 - as above
    except ImportError as error:
        raise UnavailableError(
            "extra_missing",
            f"the demonstration needs {error.name}, which is not installed",
            mend="pip install 'ranksearch[demo]'",
        ) from error


def _follow(console: Console, client: Client, study: StudyHandle) -> None:
    """Show the study as it goes: a bar where somebody watches, a line a trial elsewhere."""
    if console.is_terminal:
        study.wait(progress=True)
        return
    metric = study.status().metric
    best: Trial | None = None
    for event in client.studies.events(study.id):
        if event.kind == "trial" and event.data["state"] in {"COMPLETE", "PRUNED", "FAIL"}:
            trial = Trial.model_validate(event.data)
            if trial.final is not None:
                console.print(
                    f"   trial {trial.number:>3} {'on all images':<13} {_found(trial, metric)}", soft_wrap=True
                )
                continue
            before, best = best, _better_of(best, trial, metric)
            so_far = "" if best is before else "; the best so far"
            words = f"   trial {trial.number:>3} {origin(trial.origin):<13} {_found(trial, metric)}{so_far}"
            console.print(words, soft_wrap=True)  # a line of a log stays one
    study.wait()


def _better_of(best: Trial | None, trial: Trial, metric: Metric) -> Trial | None:
    """The better of two trials; one that was stopped early or failed is none."""
    if trial.state != "COMPLETE" or trial.value is None:
        return best
    return trial if best is None or best.value is None or better(metric, trial.value, best.value) else best


def _found(trial: Trial, metric: Metric) -> str:
    """What a trial came to: its accuracy, and the metric by which it is judged."""
    result = trial.final or trial.result
    if trial.state != "COMPLETE" or result is None:
        return "stopped early" if trial.state == "PRUNED" else "failed"
    judged = None if metric == "accuracy" else f"{metric} {metric_value(metric, result.value)}"
    return ", ".join(word for word in (per_cent(result.accuracy), judged) if word)


def _hold(console: Console, local: LocalDeployment) -> None:
    console.print(f"\nStill running at {local.url}; the token is in {local.data_dir / 'token'}. Ctrl-C stops it.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
