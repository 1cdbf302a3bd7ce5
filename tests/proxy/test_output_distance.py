import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import proxy
from proxy.outputs import joined_outputs
from tests.proxy.conftest import seeded
from tests.proxy.several import Heads, fitted


@pytest.fixture
def heads():
    return fitted(Heads(), (3, 8, 8))


@pytest.fixture
def other(heads):
    return proxy.compress(heads, {"body": {"method": "cp3", "rank": 8}})


@pytest.fixture
def batches():
    return [seeded(size, 3, 8, 8, seed=size, dtype=torch.float32) for size in (10, 10, 4)]


def answers(network, batches):
    """Every output over all images, by hand."""
    with torch.no_grad():
        found = [network(batch) for batch in batches]
    places = (lambda out: out["classes"], lambda out: out["more"][0], lambda out: out["more"][1][0])
    return [np.concatenate([place(out).double().numpy() for out in found]) for place in places]


def by_numpy(dense, compressed, scale=None):
    """The mean over the outputs of the unexplained share of their variance about the channels' means."""
    shares = []
    for at, (wanted, got) in enumerate(zip(dense, compressed, strict=True)):
        whole = wanted if scale is None else scale[at]
        axes = (0, *range(2, whole.ndim))
        variance = np.mean((whole - whole.mean(axis=axes, keepdims=True)) ** 2)
        shares.append(np.mean((got - wanted) ** 2) / variance)
    return np.mean(shares)


def test_it_is_numpys(heads, other, batches):
    found = proxy.score(other, batches, reference=heads, metric="outputs")
    assert found.value == pytest.approx(by_numpy(answers(heads, batches), answers(other, batches)), rel=1e-5)
    assert (found.count, found.dense_value, found.higher_is_better) == (24, 0, False)


def test_the_batches_are_measured_on_the_scale_of_all_images(heads, other, batches):
    reference = proxy.reference_outputs(heads, batches)
    found = proxy.score(other, batches, reference=reference, metric="outputs")
    every = answers(heads, batches)
    alone = [by_numpy(answers(heads, [batch]), answers(other, [batch]), every) for batch in batches]
    assert found.batch_means == pytest.approx(alone, rel=1e-5)
    assert found.value == pytest.approx(np.average(alone, weights=[10, 10, 4]), rel=1e-5)


def test_a_measurement_that_is_stopped_has_the_batches_of_the_whole_one(heads, other, batches):
    reference = proxy.reference_outputs(heads, batches)
    whole = proxy.score(other, batches, reference=reference, metric="outputs")
    part = proxy.score(other, batches, reference=reference, metric="outputs", stop=lambda score: score.count == 20)
    assert part.batch_means == whole.batch_means[:2]
    assert not part.complete


def test_outputs_that_take_too_much_memory_are_computed_again(heads, other, batches):
    kept, again = (proxy.reference_outputs(heads, batches, memory=memory) for memory in (1 << 30, 0))
    assert again.batches is None
    assert again.variances == kept.variances
    values = [proxy.score(other, batches, reference=one, metric="outputs") for one in (kept, again)]
    assert values[0] == values[1]


def test_the_dense_network_is_at_no_distance_from_itself(heads, batches):
    assert proxy.score(heads, batches, reference=heads, metric="outputs").value == 0


def test_a_constant_explains_nothing():
    wanted = seeded(50, 4)
    assert float(proxy.output_distance(wanted.mean(0).expand(50, 4), wanted)) == pytest.approx(1)


def test_units_do_not_matter():
    wanted, got = (seeded(50, 4, seed=seed) for seed in range(2))
    one, other = (proxy.output_distance(got * unit + 3, wanted * unit + 3) for unit in (1, 1e4))
    assert float(one) == pytest.approx(float(other), rel=1e-4)


def test_it_can_be_learnt_from():
    torch.manual_seed(0)
    dense, small = nn.Linear(6, 4), nn.Linear(6, 4)
    images = seeded(64, 6, dtype=torch.float32)
    optimizer = torch.optim.SGD(small.parameters(), lr=0.5)
    course = []
    for _ in range(300):
        loss = proxy.output_distance({"out": small(images)}, {"out": dense(images)})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(float(loss.detach()))
    assert course[0] > 0.5
    assert course[-1] < 1e-4
    assert all(parameter.grad is None for parameter in dense.parameters())


def test_an_output_that_never_varies_is_left_out():
    wanted, got = seeded(20, 3), seeded(20, 3, seed=1)
    alone = proxy.output_distance([got], [wanted])
    beside = proxy.output_distance([got, torch.full((20, 2), 8.0)], [wanted, torch.full((20, 2), 0.1)])
    assert float(beside) == pytest.approx(float(alone))


def test_where_nothing_varies_there_is_no_scale():
    with pytest.raises(proxy.MissingInput, match="never vary"):
        proxy.output_distance(torch.ones(4, 2), torch.ones(4, 2))


def test_whole_numbers_are_left_out():
    wanted, got = seeded(20, 3), seeded(20, 3, seed=1)
    classes = torch.arange(20)
    assert torch.equal(
        proxy.output_distance((got, classes), (wanted, classes.flip(0))), proxy.output_distance(got, wanted)
    )
    with pytest.raises(proxy.ShapeMismatch, match="no floating-point"):
        proxy.output_distance(classes, classes)


@pytest.mark.parametrize(
    "reference", [{"out": torch.ones(4, 3)}, {"other": torch.ones(4, 2)}, torch.ones(4, 2), [torch.ones(4, 2)] * 2]
)
def test_answers_of_another_structure_are_refused(reference):
    with pytest.raises(proxy.ShapeMismatch, match="do not fit"):
        proxy.output_distance({"out": torch.ones(4, 2)}, reference)


def test_outputs_that_are_no_numbers_are_refused(heads, batches):
    broken = Heads().eval()
    broken.load_state_dict(heads.state_dict())
    with torch.no_grad():
        broken.box.bias[0] = float("inf")
    with pytest.raises(proxy.NotFinite, match=r"\['more'\]\[0\]"):
        proxy.score(broken, batches, reference=heads, metric="outputs")


def test_outputs_without_a_reference_are_refused(heads, batches):
    with pytest.raises(proxy.MissingInput):
        proxy.score(heads, batches, metric="outputs")


def test_kl_is_the_mean_over_all_outputs_that_are_scores(heads, other, batches):
    found = proxy.score(other, batches, reference=heads, metric="kl")
    apart = []
    for pair in zip(answers(heads, batches), answers(other, batches), strict=True):
        wanted, got = (torch.from_numpy(one).movedim(1, -1).flatten(0, -2) for one in pair)
        apart.append(float(functional.kl_div(got.log_softmax(1), wanted.softmax(1), reduction="batchmean")))
    assert found.value == pytest.approx(np.mean(apart), rel=1e-5)
    assert found.count == 24


def test_accuracy_is_of_the_first_output(heads, batches):
    labelled = [(batch, torch.arange(len(batch)) % 5) for batch in batches]
    found = proxy.score(heads, labelled, reference=heads)
    right = answers(heads, batches)[0].argmax(1) == np.concatenate([labels.numpy() for _, labels in labelled])
    assert found.value == found.dense_value == pytest.approx(right.mean())
    assert found.kl == pytest.approx(0, abs=1e-12)


def test_kl_of_outputs_that_are_no_scores_is_refused(batches):
    network = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(proxy.ShapeMismatch, match="no logits") as refusal:
        proxy.score(network, batches, reference=network, metric="kl")
    assert "outputs" in refusal.value.mend


def test_of_logits_the_distance_tells_their_divergence_too(small, images):
    other = proxy.compress(small, {"conv2": {"method": "cp3", "rank": 6}})
    found = proxy.score(other, images, reference=small, metric="outputs")
    assert found.kl == pytest.approx(proxy.score(other, images, reference=small, metric="kl").value)


def test_answers_are_joined_in_their_structure():
    parts = [{"a": torch.full((2, 1), at), "b": (torch.full((2,), at), None)} for at in range(2)]
    whole = joined_outputs(parts)
    assert whole["a"].flatten().tolist() == whole["b"][0].tolist() == [0, 0, 1, 1]
    assert whole["b"][1] is None
