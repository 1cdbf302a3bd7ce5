"""The independent per-layer table of a network, measured as a worker does it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from kernels import shared_module

import ranksearch
from ranksearch.contracts.jobs import DataSelection, SensitivityTask
from ranksearch.contracts.resources import Blob
from service.scheduling.sensitivity import CALIBRATION_IMAGES, VALIDATION_IMAGES, choices_of
from service.search.space import SearchSpace
from worker.evaluation.sensitivity import measure_sensitivity
from worker.evaluation.session import Session

__all__ = ["greedy_table"]


def greedy_table(space: SearchSpace, data: Path, work: Path, depth: int) -> dict[str, list[float]]:
    """Site → the divergence at each of its probed positions, that site alone factorised and reconstructed.

    Args:
        space: of the network.
        data: folder of weights and images.
        work: folder with the network's factors.
        depth: of the network.
    """
    cifar = shared_module(data)
    model = work / f"resnet{depth}.safetensors"
    files = {_blob(model).sha256: model}
    selections = []
    for split, count in (("train", CALIBRATION_IMAGES), ("test", VALIDATION_IMAGES)):
        images, labels = cifar.images(split, count)
        path = work / f"table-{split}-{depth}"
        ranksearch.pack_data(torch.from_numpy(images), labels, path, mean=cifar.MEAN, std=cifar.STD)
        files[_blob(path).sha256] = path
        selections.append(DataSelection(blob=_blob(path), start=0, stop=count))
    task = SensitivityTask(
        model=_blob(model),
        choices=choices_of(space),
        calibration=selections[0],
        validation=selections[1],
        level="reconstruction",
        batch_size=64,
        seed=0,
    )
    return measure_sensitivity(Session(device="cpu", cache_dir=work / f"factors{depth}"), task, files).kl


def _blob(path: Path) -> Blob:
    return Blob(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size)
