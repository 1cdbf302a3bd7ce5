import pytest
import torch
from torch.nn import functional

import proxy


@pytest.fixture
def labelled(images):
    generator = torch.Generator().manual_seed(7)
    return [(batch, torch.randint(0, 10, (len(batch),), generator=generator)) for batch in images]


@pytest.fixture
def other(small):
    return proxy.compress(small, {"conv2": {"method": "cp3", "rank": 6}})


def logits(model, batches):
    with torch.no_grad():
        return torch.cat([model(batch) for batch, _ in batches]).double()


def test_kl_is_torchs(small, other, labelled):
    ours = proxy.score(other, labelled, reference=small, metric="kl").value
    theirs = functional.kl_div(
        logits(other, labelled).log_softmax(1), logits(small, labelled).softmax(1), reduction="batchmean"
    )
    assert ours == pytest.approx(float(theirs), rel=1e-6)


def test_accuracy_and_loss(small, labelled):
    found = proxy.score(small, labelled)
    labels = torch.cat([label for _, label in labelled])
    assert found.value == found.accuracy == float((logits(small, labelled).argmax(1) == labels).double().mean())
    assert found.loss == pytest.approx(float(functional.cross_entropy(logits(small, labelled), labels)))


def test_agreement(small, other, labelled):
    same = logits(small, labelled).argmax(1) == logits(other, labelled).argmax(1)
    assert proxy.score(other, labelled, reference=small).agreement == float(same.double().mean())


def test_the_dense_network_diverges_from_itself_by_nothing(small, labelled):
    assert proxy.score(small, labelled, reference=small, metric="kl").value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("form", ["list", "tensor"])
def test_reference_logits_stand_for_the_network(small, other, labelled, form):
    given = proxy.reference_logits(small, labelled)
    given = torch.cat(given) if form == "tensor" else given
    assert proxy.score(other, labelled, reference=given) == proxy.score(other, labelled, reference=small)


def test_batches_of_different_size_weigh_by_their_images(small, other, labelled):
    images, labels = (torch.cat(parts) for parts in zip(*labelled, strict=True))
    uneven = [(images[:7], labels[:7]), (images[7:], labels[7:])]
    one, two = (proxy.score(other, batches, reference=small, metric="kl") for batches in (uneven, labelled))
    assert one.value == pytest.approx(two.value)
    assert one.count == two.count == 128


def test_loss_is_torchs_and_less_of_it_is_better(small, labelled):
    found = proxy.score(small, labelled, metric="loss")
    labels = torch.cat([label for _, label in labelled])
    assert found.value == found.loss == pytest.approx(float(functional.cross_entropy(logits(small, labelled), labels)))
    assert not found.higher_is_better


def test_the_dense_networks_accuracy_is_told_on_the_same_images(small, other, labelled):
    found = proxy.score(other, labelled, reference=small, stop=lambda score: score.count == 64)
    assert found.dense_value == proxy.score(small, labelled[:2]).accuracy


def test_the_dense_networks_loss_is_told_on_the_same_images(small, other, labelled):
    found = proxy.score(other, labelled, reference=small, metric="loss")
    assert found.dense_value == pytest.approx(proxy.score(small, labelled, metric="loss").value)


def test_the_dense_networks_divergence_is_none(small, other, labelled):
    assert proxy.score(other, labelled, reference=small, metric="kl").dense_value == 0


def test_without_a_reference_there_is_no_dense_value(small, labelled):
    assert proxy.score(small, labelled).dense_value is None


@pytest.mark.parametrize(("metric", "raced"), [("accuracy", "kl"), ("kl", "kl"), ("loss", "loss")])
def test_the_batch_means_are_what_trials_are_raced_on(small, other, labelled, metric, raced):
    found = proxy.score(other, labelled, reference=small, metric=metric)
    alone = [proxy.score(other, [batch], reference=small, metric=raced).value for batch in labelled]
    assert found.batch_means == pytest.approx(alone)


def test_accuracy_without_a_reference_has_nothing_to_race_on(small, labelled):
    assert proxy.score(small, labelled).batch_means is None


def test_loss_without_labels_is_refused(small, images):
    with pytest.raises(proxy.MissingInput, match="labels"):
        proxy.score(small, images, metric="loss")


def test_it_can_be_stopped(small, labelled):
    seen = []
    found = proxy.score(small, labelled, stop=lambda score: seen.append(score.count) or len(seen) == 2)
    assert (found.count, found.complete, seen) == (64, False, [32, 64])


def test_it_leaves_modes_alone(small, labelled):
    small.train()
    proxy.score(small, labelled)
    assert small.bn1.training


def test_images_without_labels_will_do_for_kl(small, other, images):
    found = proxy.score(other, [(batch, None) for batch in images], reference=small, metric="kl")
    assert found.accuracy is None
    assert not found.higher_is_better


def test_accuracy_without_labels_is_refused(small, images):
    with pytest.raises(proxy.MissingInput, match="labels"):
        proxy.score(small, images)


def test_kl_without_a_reference_is_refused(small, images):
    with pytest.raises(proxy.MissingInput):
        proxy.score(small, images, metric="kl")


def test_no_images_are_refused(small):
    with pytest.raises(proxy.MissingInput):
        proxy.score(small, [])


def test_an_unknown_metric_is_refused(small, labelled):
    with pytest.raises(proxy.UnsupportedMethod):
        proxy.score(small, labelled, metric="magic")


def test_outputs_that_are_no_numbers_are_refused(small, labelled):
    with torch.no_grad():
        small.fc.weight[0, 0] = float("nan")
    with pytest.raises(proxy.NotFinite):
        proxy.score(small, labelled)


def test_a_reference_of_another_shape_is_refused(small, images):
    with pytest.raises(proxy.ShapeMismatch):
        proxy.score(small, images, reference=[torch.zeros(32, 11)] * 4, metric="kl")


def test_too_few_reference_batches_are_refused(small, images):
    with pytest.raises(proxy.ShapeMismatch, match="fewer"):
        proxy.score(small, images, reference=proxy.reference_logits(small, images[:2]), metric="kl")
