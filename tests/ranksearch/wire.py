"""Answers of a service, as a test needs them."""

import hashlib
import json

import httpx

NOW = "2026-01-02T03:04:05Z"
STUDY = "sty_0123456789abcdef"
MODEL = "mdl_0123456789abcdef"
DATASET = "dts_0123456789abcdef"
COST = {"macs": 1_000_000, "params": 5_000}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def problem(code, status, **members):
    return {"type": f"urn:ranksearch:problem:{code}", "title": code, "status": status, "code": code, **members}


def model(state="ready", data=b"model", **members):
    return {
        "id": MODEL,
        "name": "net",
        "blob": {"sha256": sha256(data), "size": len(data)},
        "state": state,
        "summary": {
            "kind": "graph",
            "architecture": None,
            "inputs": [{"shape": [1, 8, 8], "dtype": "float32"}],
            "outputs": [{"shape": [10], "dtype": "float32"}],
            "params": 5_000,
            "tensors": 9,
            "bytes": len(data),
        },
        "created_at": NOW,
        **members,
    }


def dataset(count=900, data=b"dataset", **members):
    return {
        "id": DATASET,
        "name": "digits",
        "blob": {"sha256": sha256(data), "size": len(data)},
        "summary": {
            "count": count,
            "image_shape": [1, 8, 8],
            "dtype": "uint8",
            "layout": "NHWC",
            "mean": [0.3],
            "std": [0.4],
            "has_labels": True,
            "label_min": 0,
            "label_max": 9,
            "class_names": None,
            "bytes": len(data),
        },
        "created_at": NOW,
        **members,
    }


def request(**members):
    return {
        "model": MODEL,
        "calibration": {"dataset": DATASET, "start": 0, "stop": 450},
        "validation": {"dataset": DATASET, "start": 450},
        "constraints": {"macs": "40%"},
        **members,
    }


def study(state="running", complete=0, **members):
    return {
        "id": STUDY,
        "name": "first",
        "state": state,
        "request": request(),
        "metric": "accuracy",
        "limits": {"macs": 400_000},
        "dense": COST,
        "progress": {"n_trials": 10, "complete": complete, "failed": 0, "running": 1, "waiting": 9 - complete},
        "optuna_study": STUDY,
        "created_at": NOW,
        **members,
    }


def result(value=0.9, **members):
    return {
        "value": value,
        "accuracy": value,
        "kl": 0.01,
        "loss": 0.2,
        "images": 450,
        "cost": {"macs": 333_333, "params": 2_500},
        "seconds": {"total": 1.5},
        "device": "cpu",
        **members,
    }


def trial(number=0, state="COMPLETE", **members):
    return {
        "number": number,
        "state": state,
        "origin": "equal_error",
        "ranks": {"conv": {"method": "cp3", "rank": 7}},
        "planned": {"macs": 333_333, "params": 2_500},
        "value": 0.9,
        "result": result(),
        **members,
    }


def best(**members):
    return {
        "study": STUDY,
        "state": "completed",
        "trial": 3,
        "origin": "equal_error",
        "metric": "accuracy",
        "value": 0.9,
        "dense_value": 0.95,
        "result": result(),
        "dense_result": {**result(0.95), "cost": COST},
        "macs": {"dense": 1_000_000, "compressed": 333_333, "fraction": 0.333333, "compression_ratio": 3.0},
        "params": {"dense": 5_000, "compressed": 2_500, "fraction": 0.5, "compression_ratio": 2.0},
        "ranks": {"conv": {"method": "cp3", "rank": 7}},
        "layers": [
            {
                "name": "conv",
                "kind": "conv2d",
                "choice": {"method": "cp3", "rank": 7},
                "dense": {"macs": 900_000, "params": 4_000},
                "compressed": {"macs": 233_333, "params": 1_500},
                "relative_error": 0.125,
            },
            {
                "name": "head",
                "kind": "linear",
                "choice": {"method": "dense"},
                "reason_dense": "no rank is cheaper",
                "dense": {"macs": 100_000, "params": 1_000},
                "compressed": {"macs": 100_000, "params": 1_000},
            },
        ],
        **members,
    }


def pareto(**members):
    front = [(4, 0.01, 400_000), (7, 0.04, 200_000)]
    return {
        "study": STUDY,
        "state": "completed",
        "objectives": ["proxy", "macs"],
        "metric": "kl",
        "points": [
            {
                "trial": number,
                "origin": "sampler",
                "values": {"proxy": kl, "macs": macs},
                "result": result(0.9),
                "ranks": {"conv": {"method": "cp3", "rank": 7}},
            }
            for number, kl, macs in front
        ],
        **members,
    }


def latency(**members):
    conditions = {"device": "cpu", "dtype": "float32", "batch": 1, "backend": "torch"}
    return {"latency_ms": 2.0, "dense_latency_ms": 5.0, **conditions, **members}


def measured(dense_ms=3.0, compressed_ms=2.0, noise=0.02, **members):
    speedup = dense_ms / compressed_ms
    return {
        "dense": {"median_ms": dense_ms, "iqr_ms": 0.1, "passes": 200},
        "compressed": {"median_ms": compressed_ms, "iqr_ms": 0.1, "passes": 200},
        "speedup": speedup,
        "speedup_low": speedup * (1 - noise),
        "speedup_high": speedup * (1 + noise),
        "rounds": 20,
        **members,
    }


def latency_row(runtime="torch", batch=1, **members):
    return {
        "runtime": runtime,
        "device": "cpu",
        "dtype": "float32",
        "batch": batch,
        "layout": "contiguous",
        "threads": 2,
        "measured": measured(),
        **members,
    }


def layer_latency(name="conv", *pairs, **members):
    """``pairs``: milliseconds dense and compressed, for batches of 1, 32 and so on."""
    times = [{"batch": batch, "measured": measured(*pair)} for batch, pair in zip((1, 32), pairs, strict=False)]
    return {
        "name": name,
        "choice": {"method": "cp3", "rank": 7},
        "calls": 1,
        "dense_macs": 900_000,
        "macs_fraction": 0.25,
        "times": times or [{"batch": 1, "measured": measured()}],
        **members,
    }


def latency_report(*rows, **members):
    return {
        "device": "cpu",
        "threads": 2,
        "cores": 8,
        "load": 0.5,
        "versions": {"torch": "2.14.1"},
        "rows": list(rows) or [latency_row()],
        "layer_dtype": "float32",
        "layer_layout": "channels_last",
        "layers": [],
        "seconds": 20.0,
        **members,
    }


def latency_comparison(state="ready", **members):
    ready = {"report": latency_report(), "verdict": "Faster: 1.50× as fast at batch 1."} if state == "ready" else {}
    return {
        "id": "job_lat",
        "state": state,
        "trial": 3,
        "batches": [1, 32],
        "runtimes": ["torch", "torch_compile", "onnxruntime"],
        **ready,
        **members,
    }


def parity(**members):
    return {
        "reference": "network",
        "images": 256,
        "max_difference": 2e-6,
        "max_relative_difference": 1e-7,
        "tolerance": 1e-4,
        "same_top1": 1.0,
        "dtype": "float32",
        "runtimes": {"torch": "2.14.0"},
        "agrees": True,
        **members,
    }


def artifact(data=b"compressed", state="ready", **members):
    return {
        "id": "job_art",
        "name": "compressed.safetensors",
        "kind": "model_document",
        "state": state,
        "trial": 3,
        "parity": parity() if state == "ready" else None,
        "blob": {"sha256": sha256(data), "size": len(data)} if state == "ready" else None,
        **members,
    }


def tuning_score(accuracy=0.9):
    return {"value": accuracy, "accuracy": accuracy, "kl": 0.1, "images": 600}


def finetune(state="ready", trial=3, step=8, steps=8, **members):
    ready = state == "ready"
    recipe = {
        "epochs": 2.0,
        "batch_size": 128,
        "learning_rate": 0.005,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "distillation": 0.9,
        "temperature": 1.0,
        "ema_decay": 0.99,
        "augmentation": "none",
        "seed": 0,
    }
    curve = [{"step": at, "loss": 1 / at, "learning_rate": 0.005} for at in range(1, step + 1)]
    return {
        "id": f"job_ft{trial}",
        "study": STUDY,
        "trial": trial,
        "state": state,
        "recipe": recipe,
        "training": {"dataset": "dts_1", "start": 0, "stop": 300},
        "step": step,
        "steps": steps,
        "curve": curve,
        "before": tuning_score(0.9),
        "dense": tuning_score(0.95),
        "after": tuning_score(0.93) if ready else None,
        "improved": True if ready else None,
        "chosen": ready,
        "artifact": {"sha256": "ab" * 32, "size": 9} if ready else None,
        **members,
    }


def worker(**members):
    return {
        "id": "wrk_1",
        "name": "box",
        "device": "cpu",
        "state": "idle",
        "version": "1",
        "last_seen_at": NOW,
        **members,
    }


def page(*items, following=None):
    return {"items": list(items), "next": following}


def event(number, kind="study", /, **data):
    return {"id": number, "kind": kind, "study": STUDY, "created_at": NOW, "data": data}


def stream(*events):
    text = "".join(f"id: {event['id']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})
