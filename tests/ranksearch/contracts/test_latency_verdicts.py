"""What a latency report comes to, in words."""

import pytest

from ranksearch.contracts.latency import LatencyReport
from ranksearch.contracts.latency_verdicts import layers_better_dense, standings, verdict
from ranksearch.contracts.studies import CostShare
from tests.ranksearch import wire

MACS = CostShare(dense=900, compressed=297, fraction=0.33, compression_ratio=3.03)


def report(*rows, **members):
    return LatencyReport.model_validate(wire.latency_report(*rows, **members))


def row(dense, compressed, runtime="torch", batch=1, noise=0.02, **members):
    return wire.latency_row(runtime, batch, measured=wire.measured(dense, compressed, noise), **members)


def test_faster_everywhere_says_by_how_much_and_run_by_what():
    told = verdict(report(row(4.0, 2.0), row(90.0, 60.0, batch=32)), MACS)
    assert told == (
        "Faster (33% of the macs remain): 2.00× as fast at batch 1 (torch, contiguous: 4 → 2 ms);"
        " 1.50× as fast at batch 32 (torch, contiguous: 90 → 60 ms)."
    )


def test_fewer_macs_and_no_gain_is_said_in_so_many_words():
    told = verdict(report(row(2.0, 3.0), row(60.0, 60.3, batch=32)), MACS)
    assert told.startswith("Fewer MACs but not faster here (33% of the macs remain): slower at batch 1, 0.67× (torch")
    assert "within the noise at batch 32, 1.00× (torch" in told


def test_a_speedup_within_the_noise_is_none():
    told = verdict(report(row(3.0, 2.0, noise=0.5)))
    assert told.startswith("Fewer MACs but not faster here: within the noise at batch 1, 1.50× (torch")


def test_faster_at_one_batch_size_alone_is_said():
    assert verdict(report(row(2.0, 3.0), row(60.0, 20.0, batch=32))).startswith(
        "Faster in 1 of 2 settings: slower at batch 1, 0.67×"
    )


def test_the_fastest_dense_way_counts_and_not_a_slow_one():
    """With torch the compressed network gains; but nobody runs the dense one so where ONNX Runtime is faster."""
    rows = row(9.0, 4.0), row(3.0, 4.5, "onnxruntime")
    told = verdict(report(*rows))
    assert told.startswith("Fewer MACs but not faster here: slower at batch 1, 0.75× (ONNX Runtime 3 ms → torch")
    (standing,) = standings(report(*rows).rows)
    assert (standing.dense.runtime, standing.compressed.runtime) == ("onnxruntime", "torch")


def test_ways_that_differ_by_less_than_their_spread_are_alike():
    rows = [row(3.0, 4.0), row(4.0, 2.97, layout="channels_last")]
    for one in rows:
        one["measured"]["dense"]["iqr_ms"] = one["measured"]["compressed"]["iqr_ms"] = 0.5
    (standing,) = standings(report(*rows).rows)
    assert standing.speed == "alike"


def test_devices_and_dtypes_stand_by_themselves():
    gpu = {"device": "H100", "threads": None}
    rows = row(2.0, 1.0, **gpu), row(1.0, 1.5, dtype="float16", **gpu), row(9.0, 5.0, "onnxruntime")
    told = verdict(report(*rows))
    assert told.startswith("Faster in 2 of 3 settings:")
    assert "slower at batch 1 on H100 in float16, 0.67×" in told
    assert "1.80× as fast at batch 1 on cpu in float32 (ONNX Runtime: 9 → 5 ms)." in told


def test_rows_that_were_not_measured_count_for_nothing():
    lost = wire.latency_row("torch_compile", measured=None, why_not="no compiler")
    assert verdict(report(lost, row(4.0, 2.0))).startswith("Faster: 2.00× as fast at batch 1")
    assert verdict(report(lost)) == "Nothing could be measured: every row says why."


def layers(*slower):
    return [wire.layer_latency(f"conv{at}", (1.0, 2.0 if bad else 0.5)) for at, bad in enumerate(slower)]


def test_layers_that_gain_nothing_are_named():
    told = report(row(4.0, 2.0), layers=layers(False, True, False, True))
    assert layers_better_dense(told) == ["conv1", "conv3"]
    assert verdict(told).endswith("Better left dense on this device, 2 of 4 factorised layers: conv1, conv3.")


def test_what_leaving_them_dense_costs_is_told():
    """The layer has 100,000 macs, a quarter of which remain; the network keeps 330,000 of its million."""
    macs = CostShare(dense=1_000_000, compressed=330_000, fraction=0.33, compression_ratio=3.03)
    small = [one | {"dense_macs": 100_000} for one in layers(True, False)]
    told = verdict(report(row(4.0, 2.0), layers=small), macs)
    assert told.endswith("conv0; then 40% of the macs remain.")  # 330,000 and 75,000


def test_of_many_layers_the_first_are_named_and_the_others_counted():
    told = verdict(report(row(4.0, 2.0), layers=layers(False, *[True] * 9)))
    assert told.endswith("9 of 10 factorised layers: conv1, conv2, conv3, conv4, conv5, conv6 and 3 more.")


@pytest.mark.parametrize(
    ("slower", "words"),
    [([True, True], "None of the 2 factorised layers is faster"), ([False, False], "Every factorised layer is faster")],
)
def test_all_layers_or_none_are_said_without_names(slower, words):
    assert words in verdict(report(row(4.0, 2.0), layers=layers(*slower)))
