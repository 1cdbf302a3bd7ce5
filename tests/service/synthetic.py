"""Tiny documents and profiles, written without torch."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import numpy as np

from ranksearch.contracts.profiles import ModelProfile

CODES = {"uint8": "U8", "int64": "I64", "float32": "F32"}


def tensor_file(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata}
    data, at = b"", 0
    for name, tensor in tensors.items():
        raw = np.ascontiguousarray(tensor).tobytes()
        header[name] = {
            "dtype": CODES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(raw)],
        }
        data, at = data + raw, at + len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def model_document(salt: int = 0, shape=(3, 8, 8), classes: int = 10) -> bytes:
    return tensor_file(
        {
            "format": "ranksearch.model/1",
            "kind": "graph",
            "graph": "{}",
            "inputs": json.dumps([{"shape": list(shape), "dtype": "float32"}]),
            "outputs": json.dumps([{"shape": [classes], "dtype": "float32"}]),
            "buffers": "[]",
        },
        {"weight": np.full((2, 2), salt, dtype=np.float32)},
    )


def onnx_file(salt: int = 0) -> bytes:
    """What the service looks at of an ONNX file: a version, a producer, and a graph that nobody here opens."""
    graph = b"not looked at " + str(salt).encode()
    return b"\x08\x08\x12\x04test" + b"\x3a" + bytes([len(graph)]) + graph


def dataset_document(
    count: int = 40, shape=(3, 8, 8), labels: int | None = 10, salt: int = 0, inputs: list[Any] | None = None
) -> bytes:
    """Images; or, by name and shape, several inputs, of which those of three sizes are images."""
    if inputs is not None:
        return _inputs_document(count, inputs)
    channels, height, width = shape
    tensors = {"images": np.full((count, height, width, channels), salt, dtype=np.uint8)}
    if labels is not None:
        tensors["labels"] = np.arange(count, dtype=np.int64) % labels
    return tensor_file(
        {
            "format": "ranksearch.dataset/1",
            "layout": "NHWC",
            "mean": json.dumps([0.5] * channels),
            "std": json.dumps([0.25] * channels),
        },
        tensors,
    )


def _inputs_document(count: int, inputs: list[Any]) -> bytes:
    told, tensors = [], {"labels": np.arange(count, dtype=np.int64) % 10}
    for name, shape in inputs:
        told.append({"name": name})
        if len(shape) == 3:
            told[-1] |= {"layout": "NCHW", "mean": [0.5] * shape[0], "std": [0.25] * shape[0]}
        tensors[f"input.{name}"] = np.zeros((count, *shape), dtype=np.float32)
    return tensor_file({"format": "ranksearch.dataset/1", "inputs": json.dumps(told)}, tensors)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def site(
    name: str, macs: int, params: int, *, points: int = 7, steepness: float = 1.0, method: str = "cp3"
) -> dict[str, Any]:
    """A layer whose error falls as its rank rises; ``steepness`` says how sensitive it is."""
    grid = []
    for step in range(1, points + 1):
        share = step / (points + 1)
        ranks: dict[str, Any] = {"method": method}
        ranks |= {"ranks": {"out": step, "in": step}} if method == "tucker2" else {"rank": step}
        grid.append(
            {
                "ranks": ranks,
                "macs": int(macs * share),
                "params": int(params * share),
                "relative_error": round((1 - share) ** steepness, 6),
            }
        )
    return {
        "name": name,
        "kind": "conv2d",
        "weight_shape": [8, 8, 3, 3],
        "macs": macs,
        "params": params,
        "grids": {method: grid},
    }


def with_methods(first: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """The first layer, with the grids of all."""
    return first | {"grids": {method: grid for one in (first, *others) for method, grid in one["grids"].items()}}


def profile(
    sites: list[dict[str, Any]] | None = None, *, shape=(3, 8, 8), outputs=(10,), rest=(5000, 50)
) -> ModelProfile:
    if sites is None:
        sites = [site(f"layer{i}.conv", 10_000 * (i + 1), 100 * (i + 1), steepness=0.5 + 0.8 * i) for i in range(4)]
    return ModelProfile.model_validate(
        {
            "dense": {
                "macs": rest[0] + sum(s["macs"] for s in sites),
                "params": rest[1] + sum(s["params"] for s in sites),
            },
            "sites": sites,
            "input_shapes": [list(shape)],
            "output_shapes": [list(outputs)],
            "solver": "epc",
            "seconds": 0.1,
        }
    )


def timed(profile: ModelProfile, latency_ms: float = 10.0) -> ModelProfile:
    """With latencies that are what the macs are, of the network and of all its layers."""
    told = profile.model_dump(mode="json", by_alias=True)
    per_mac = latency_ms / told["dense"]["macs"]
    for one in told["sites"]:
        one["latency_ms"] = one["macs"] * per_mac
        for point in (point for grid in one["grids"].values() for point in grid):
            point["latency_ms"] = point["macs"] * per_mac
    return ModelProfile.model_validate(told | {"latency": latency(latency_ms)})


def latency(ms: float, dense_ms: float | None = None) -> dict[str, Any]:
    """One measurement."""
    measured = {"latency_ms": ms, "device": "cpu", "dtype": "float32", "batch": 1, "backend": "torch"}
    return measured if dense_ms is None else measured | {"dense_latency_ms": dense_ms}


def measured(dense_ms: float, compressed_ms: float, noise: float = 0.02, rounds: int = 20) -> dict[str, Any]:
    """Two forms timed in turns; ``noise``: half the width of the interval, as a part of the speedup."""
    speedup = dense_ms / compressed_ms
    return {
        "dense": {"median_ms": dense_ms, "iqr_ms": dense_ms * noise, "passes": 200},
        "compressed": {"median_ms": compressed_ms, "iqr_ms": compressed_ms * noise, "passes": 200},
        "speedup": speedup,
        "speedup_low": speedup * (1 - noise),
        "speedup_high": speedup * (1 + noise),
        "rounds": rounds,
    }


def latency_row(runtime: str = "torch", batch: int = 1, **members: Any) -> dict[str, Any]:
    """A way of running the network in which the compressed one takes two thirds of the time."""
    return {
        "runtime": runtime,
        "device": "cpu",
        "dtype": "float32",
        "batch": batch,
        "layout": "contiguous",
        "threads": 2,
        "measured": measured(3.0 * batch, 2.0 * batch),
        **members,
    }


def latency_report(task: dict[str, Any]) -> dict[str, Any]:
    """Of the runtimes and batch sizes of a task; every other factorised layer is slower than the dense one."""
    compiled = {"measured": None, "why_not": "the worker may not start a compiler"}
    layers = [
        {
            "name": name,
            "choice": choice,
            "calls": 1,
            "dense_macs": 10_000,
            "macs_fraction": 0.4,
            "times": [
                {"batch": batch, "measured": measured(1.0, 1.3 if at % 2 else 0.6)}
                for batch in sorted({task["batches"][0], task["batches"][-1]})
            ],
        }
        for at, (name, choice) in enumerate(task["ranks"].items())
    ]
    return {
        "device": "cpu",
        "threads": 2,
        "cores": 2,
        "load": 0.5,
        "versions": {"torch": "2.14"},
        "rows": [
            latency_row(runtime, batch, **(compiled if runtime == "torch_compile" else {}))
            for runtime in task["runtimes"]
            for batch in task["batches"]
        ],
        "layer_dtype": "float32",
        "layer_layout": "channels_last",
        "layers": layers,
        "seconds": 12.0,
    }


def cost(ranks: dict[str, Any], of: ModelProfile) -> dict[str, int]:
    """What a network costs at these ranks, by its profile."""
    saved = {"macs": 0, "params": 0}
    for one in of.model_dump(mode="json", by_alias=True)["sites"]:
        if one["name"] in ranks:
            choice = ranks[one["name"]]
            (point,) = [point for point in one["grids"][choice["method"]] if point["ranks"] == choice]
            saved = {word: saved[word] + one[word] - point[word] for word in saved}
    return {word: getattr(of.dense, word) - saved[word] for word in saved}


def dense_site(name: str, reason: str = "it is the first layer") -> dict[str, Any]:
    return {
        "name": name,
        "kind": "conv2d",
        "weight_shape": [8, 3, 3, 3],
        "macs": 100,
        "params": 10,
        "reason_dense": reason,
        "grids": {},
    }


def result(value: float, macs: int = 30_000, params: int = 300) -> dict[str, Any]:
    return {
        "value": value,
        "accuracy": min(1.0, max(0.0, value)),
        "images": 20,
        "cost": {"macs": macs, "params": params},
        "seconds": {"total": 0.1},
        "device": "cpu",
    }


def parity(*, agrees: bool = True, **members: Any) -> dict[str, Any]:
    return {
        "reference": "network",
        "images": 20,
        "max_difference": 0.0 if agrees else 0.5,
        "max_relative_difference": 0.0 if agrees else 0.1,
        "tolerance": 1e-4,
        "same_top1": 1.0,
        "dtype": "float32",
        "runtimes": {"torch": "2.14"},
        "agrees": agrees,
        **members,
    }


def tuning_score(accuracy: float, images: int = 20) -> dict[str, Any]:
    return {"value": accuracy, "accuracy": accuracy, "kl": 1 - accuracy, "images": images}


def problem(code: str = "evaluation_crashed", detail: str = "the child died") -> dict[str, Any]:
    return {
        "type": f"urn:ranksearch:problem:{code}",
        "title": code,
        "status": 500,
        "code": code,
        "detail": detail,
    }
