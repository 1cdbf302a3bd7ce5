"""Latency reports on the wire: what follows from their figures is never taken from whoever sends them."""

import pytest
from pydantic import ValidationError

from ranksearch.contracts.latency import LatencyReport, LatencyRequest, LayerLatency, Measured
from tests.ranksearch import wire


@pytest.mark.parametrize(
    ("speedup", "low", "high", "speed"),
    [
        (1.5, 1.4, 1.6, "faster"),
        (0.7, 0.6, 0.8, "slower"),
        (1.5, 0.9, 2.0, "alike"),  # within the noise
        (0.7, 0.5, 1.1, "alike"),
        (1.01, 1.005, 1.015, "alike"),  # certain, and of no use to anybody
        (0.99, 0.985, 0.995, "alike"),
        (3.0, None, None, "alike"),  # too few rounds to tell
    ],
)
def test_a_speed_is_told_only_beyond_the_noise(speedup, low, high, speed):
    made = Measured.model_validate(wire.measured(speedup=speedup, speedup_low=low, speedup_high=high))
    assert made.speed == speed


def test_what_follows_from_the_figures_is_written_and_not_read():
    told = wire.layer_latency("conv", (2.0, 3.0)) | {"leave_dense": False}
    told["times"][0] |= {"time_fraction": 0.1}
    told["times"][0]["measured"] |= {"speed": "faster"}
    layer = LayerLatency.model_validate(told)
    assert (layer.leave_dense, layer.times[0].measured.speed) == (True, "slower")
    written = layer.model_dump(mode="json")
    assert written["times"][0]["time_fraction"] == pytest.approx(1.5)
    assert LayerLatency.model_validate(written) == layer


@pytest.mark.parametrize(
    ("pairs", "leave_dense"),
    [([(2.0, 1.0)], False), ([(2.0, 1.0), (2.0, 3.0)], False), ([(2.0, 2.0), (2.0, 3.0)], True)],
)
def test_a_layer_is_left_dense_where_it_gains_at_no_batch_size(pairs, leave_dense):
    assert LayerLatency.model_validate(wire.layer_latency("conv", *pairs)).leave_dense == leave_dense


def test_a_request_of_other_order_is_the_same_request():
    one = LatencyRequest(batches=[32, 1, 1], runtimes=["onnxruntime", "torch", "torch"])
    assert one == LatencyRequest(batches=[1, 32], runtimes=["torch", "onnxruntime"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_times_are_finite_and_positive(value):
    told = wire.latency_report(wire.latency_row(measured=wire.measured(speedup=value)))
    with pytest.raises(ValidationError):
        LatencyReport.model_validate(told)
