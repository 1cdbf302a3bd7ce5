"""Several inputs, a structure of outputs, parts without convolutions: every kind of task on one such network."""

import copy

import onnxruntime
import pytest
import torch

import proxy
import ranksearch
from ranksearch.contracts.errors import DatasetError
from tests.worker.evaluation.networks import CHOICES, RANKS, STATISTICS, FusedWork
from worker.evaluation.baseline import measure_dense
from worker.evaluation.compressed import write_compressed
from worker.evaluation.exported import write_exported
from worker.evaluation.profile import inspect
from worker.evaluation.sensitivity import estimate_sensitivity
from worker.evaluation.trial import measure_trial
from worker.evaluation.ways import prepared, ways_of


@pytest.fixture
def work(tmp_path):
    return FusedWork(tmp_path)


@pytest.fixture
def document(session, work):
    """The compressed model document's path, and what is told of it."""
    told = write_compressed(session, work.task("compress"), work.files, work.folder)
    return work.folder / told.sha256, told


def by_hand(work, ranks, level="reconstruction", dense=None):
    """Compressed and calibrated without a worker."""
    dense = copy.deepcopy(dense or work.net).to(work.device)
    chosen = {name: {"method": choice.method, "rank": choice.rank} for name, choice in ranks.items()}
    small = proxy.compress(dense, chosen)
    batches = [proxy.Inputs(given).to(work.device) for given, _ in work.batches(0, 16)]
    proxy.calibrate(small, batches, reference=dense, level=level)
    return small.cpu()


def test_the_profile_names_inputs_and_outputs(session, work):
    profile = inspect(session, work.task("inspect"), work.files).profile
    assert [(one.name, one.shape, one.dtype) for one in profile.inputs] == [
        ("colour", (3, 8, 8), "float32"),
        ("depth", (1, 8, 8), "float32"),
        ("speed", (2,), "float32"),
    ]
    assert [(one.name, one.shape, one.dtype) for one in profile.outputs] == [
        ("scores", (3, 4, 4), "float32"),
        ("more.0", (4,), "float32"),
        ("more.1.best", (4, 4), "int64"),
    ]
    assert profile.output_shapes == [[3, 4, 4], [4], [4, 4]]
    assert {site.name for site in profile.sites if site.reason_dense is None} >= set(RANKS)


@pytest.mark.parametrize("metric", ["outputs", "features"])
def test_the_dense_network_is_at_no_distance_from_itself(session, work, metric):
    result = measure_dense(session, work.task("baseline", metric=metric), work.files).result
    assert (result.value, result.dense_value, result.images) == (pytest.approx(0, abs=1e-9), 0, 24)


@pytest.mark.parametrize("level", ["statistics", "reconstruction"])
@pytest.mark.parametrize("metric", ["outputs", "features"])
def test_a_trial_measures_what_is_worked_out_by_hand(session, work, metric, level):
    result = measure_trial(session, work.task("trial", metric=metric, level=level), work.files).result
    dense = ranksearch.load(work.folder / "model")  # where attention's projections are layers, whose features count
    small = by_hand(work, RANKS, level, dense)
    wanted = proxy.score(small, work.batches(16, 40), reference=dense, metric=metric)
    assert result.value == pytest.approx(wanted.value, rel=1e-4)
    assert getattr(result, metric) == result.value
    assert result.cost.macs == proxy.cost(small, work.batch(0, 1)).macs


def test_a_trial_is_raced_by_the_distances_of_its_batches(session, work):
    reference = proxy.reference_outputs(work.net, work.batches(16, 40))
    wanted = proxy.score(by_hand(work, RANKS), work.batches(16, 40), reference=reference, metric="outputs").batch_means
    result = measure_trial(session, work.task("trial"), work.files).result
    assert result.batch_values == pytest.approx(wanted, rel=1e-4)
    best = [value / 2 for value in result.batch_values for _ in range(3)]
    raced = work.task("trial", batch_size=2, race={"batch_values": best, "p_value": 0.05})
    told = measure_trial(session, raced, work.files)
    assert (told.pruned, told.result.images) == (True, 10)


def test_short_of_memory_it_measures_the_same(session, work):
    whole = measure_trial(session, work.task("trial"), work.files).result
    session.at_once = 3
    session.forget()
    pieces = measure_trial(session, work.task("trial"), work.files).result
    assert pieces.value == pytest.approx(whole.value, rel=1e-4)


def test_a_metric_that_does_not_fit_the_outputs_is_told_by_the_baseline(session, work):
    labels = torch.zeros(40, dtype=torch.int64)
    ranksearch.pack_data(work.inputs, labels, work.folder / "l", **STATISTICS)
    part = work.part(16, 40).model_copy(update={"blob": work.blob(work.folder / "l")})
    measured = work.task("baseline", metric="accuracy", validation=part)
    with pytest.raises(proxy.ShapeMismatch, match="differ in number"):
        measure_dense(session, measured, work.files)


def test_the_table_of_layers_alone_is_of_distances(session, work):
    task = work.task("sensitivity", measure="outputs")
    found = estimate_sensitivity(session, task, work.files).change["mix"]
    reference = proxy.reference_outputs(work.net, work.batches(0, 16))
    for value, choice in zip(found, CHOICES["mix"], strict=True):
        small = by_hand(work, {"mix": choice}, "reconstruction")
        wanted = proxy.score(small, work.batches(0, 16), reference=reference, metric="outputs").value
        assert value == pytest.approx(wanted, rel=0.75)  # sixteen images, one vector for each


def test_the_document_answers_in_the_networks_structure(document, work):
    path, told = document
    loaded, small = ranksearch.load(path), by_hand(work, RANKS)
    with torch.no_grad():
        got, wanted = loaded(*work.batch(16, 24)), small(*work.batch(16, 24))
    assert torch.allclose(got["scores"], wanted["scores"], atol=1e-4)
    assert torch.allclose(got["more"][0], wanted["more"][0], atol=1e-4)
    assert got["more"][1]["best"].dtype == torch.int64
    assert [spec.name for spec in loaded.output_specs] == ["scores", "more.0", "more.1.best"]
    assert (told.parity.agrees, told.parity.images, told.parity.same_top1) == (True, 24, None)


@pytest.mark.parametrize("level", ["statistics", "reconstruction"])
def test_parts_without_convolutions_are_untouched_to_the_bit(session, work, level):
    told = write_compressed(session, work.task("compress", level=level), work.files, work.folder)
    small = ranksearch.load(work.folder / told.sha256).state_dict()
    factorised = tuple(f"{name}." for name in RANKS)
    follows = "colour.1.running"  # of the BatchNorm behind a factorised layer, which calibration is for
    kept = {name for name in work.net.state_dict() if not name.startswith((*factorised, follows, "colour.1.num"))}
    assert kept >= {"positions", "attention.in_proj_weight", "norm.weight", "depth.0.weight", "map.bias", "box.weight"}
    assert all(torch.equal(small[name], work.net.state_dict()[name]) for name in kept)


def test_a_pt2_file_takes_all_inputs_and_keeps_the_structure(session, work, document):
    blob = work.blob(document[0])
    told = write_exported(session, work.task("export", model=blob, format="pt2"), work.files, work.folder)
    made = torch.export.load(work.folder / told.sha256).module()
    with torch.no_grad():
        got, wanted = made(*work.batch(16, 21)), ranksearch.load(document[0])(*work.batch(16, 21))
    assert torch.allclose(got["more"][0], wanted["more"][0], atol=1e-5)
    assert told.parity.agrees


def test_an_onnx_file_has_the_names_of_inputs_and_outputs(session, work, document):
    blob = work.blob(document[0])
    told = write_exported(session, work.task("export", model=blob, format="onnx"), work.files, work.folder)
    runtime = onnxruntime.InferenceSession(str(work.folder / told.sha256), providers=["CPUExecutionProvider"])
    assert [one.name for one in runtime.get_inputs()] == ["colour", "depth", "speed"]
    assert [one.name for one in runtime.get_outputs()] == ["scores", "more.0", "more.1.best"]
    feed = dict(zip(("colour", "depth", "speed"), work.batch(16, 21), strict=True))
    scores, box, best = runtime.run(None, {name: tensor.numpy() for name, tensor in feed.items()})
    with torch.no_grad():
        wanted = ranksearch.load(document[0])(*feed.values())
    assert torch.allclose(torch.from_numpy(scores), wanted["scores"], atol=1e-4)
    assert torch.allclose(torch.from_numpy(box), wanted["more"][0], atol=1e-4)
    assert (torch.from_numpy(best) == wanted["more"][1]["best"]).float().mean() > 0.99
    assert told.parity.agrees


def test_it_is_run_in_onnx_runtime_where_latency_is_measured(session, work):
    dense = session.network(work.model, work.folder / "model")
    pair = (dense, by_hand(work, RANKS, dense=dense))
    (way,) = ways_of(["onnxruntime"], torch.device("cpu"))
    for call in prepared(way, pair, work.folder)(3):
        assert [tuple(output.shape) for output in call()] == [(3, 3, 4, 4), (3, 4), (3, 4, 4)]


def test_a_data_set_of_other_inputs_is_refused(session, work):
    ranksearch.pack_data(
        {"colour": work.inputs["colour"]}, None, work.folder / "less", mean={"colour": 0.5}, std={"colour": 1}
    )
    less = work.part(16, 40).model_copy(update={"blob": work.blob(work.folder / "less")})
    with pytest.raises(DatasetError, match="shapes that the model takes") as refusal:
        measure_dense(session, work.task("baseline", validation=less), work.files)
    assert "depth [1, 8, 8]" in refusal.value.expected
