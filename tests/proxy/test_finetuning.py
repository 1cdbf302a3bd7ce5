import copy
import math

import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional

import proxy
from proxy.augmentation import epoch_order
from proxy.errors import MissingInput, NotFinite, ProxyError, ShapeMismatch
from proxy.finetuning import FineTuning, TuningState
from proxy.recipe import Recipe, one_cycle
from tests.proxy.conftest import Small, seeded

PLAIN = Recipe(epochs=2, batch_size=32, augmentation="none", ema_decay=0.0)
RANKS = {"conv2": {"method": "tucker2", "ranks": {"out": 6, "in": 5}}, "conv3": {"method": "cp3", "rank": 6}}


@pytest.fixture
def compressed(small):
    return proxy.compress(small, RANKS)


@pytest.fixture
def data(small):
    """Images of ten kinds, labelled by what the dense network says, so that there is something to learn."""
    images = seeded(160, 3, 12, 12, dtype=torch.float32)
    with torch.no_grad():
        return images, small(images).argmax(1)


def tuned(network, data, small, recipe, **options):
    tuning = FineTuning(copy.deepcopy(network), *data, reference=small, recipe=recipe, **options)
    list(tuning.run())
    return tuning


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("share", "soft"), [(0.5, 1.0), (0.0, 1.0), (1.0, 1.0), (0.3, 4.0)])
def test_it_is_a_plain_loop_of_sgd(compressed, data, small, share, soft):
    recipe = Recipe(**{**vars(PLAIN), "distillation": share, "temperature": soft})
    ours = tuned(compressed, data, small, recipe).network.state_dict()
    images, labels = data
    order = torch.cat([epoch_order(160, epoch, 0) for epoch in range(2)])
    network = copy.deepcopy(compressed).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    for step, chosen in enumerate(order.split(32)):
        optimizer.param_groups[0]["lr"] = 0.02 * one_cycle(step, 10)
        logits = network(images[chosen])
        p, q = (small(images[chosen]) / soft).softmax(1).detach(), (logits / soft).softmax(1)
        apart = (p * (p.log() - q.log())).sum(1).mean()
        loss = (1 - share) * functional.cross_entropy(logits, labels[chosen]) + share * soft**2 * apart
        optimizer.zero_grad()
        loss.backward()
        if PLAIN.gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), PLAIN.gradient_norm)
        optimizer.step()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_fine_tuned_network_is_nearer_to_the_dense_one(small, data):
    with torch.no_grad():
        small.fc.weight *= 100  # answers that differ from image to image
        data = (data[0], (small(data[0]) - small(data[0]).mean(0)).argmax(1))
    compressed = proxy.compress(small, {"conv2": {"method": "tucker2", "ranks": {"out": 3, "in": 3}}})
    before = proxy.score(compressed, [data], reference=small, metric="kl").kl
    recipe = Recipe(epochs=10, batch_size=32, augmentation="none", distillation=1.0)
    after = proxy.score(tuned(compressed, data, small, recipe).result(), [data], reference=small, metric="kl").kl
    assert after < 0.7 * before, (before, after)


@pytest.mark.parametrize("at", [1, 4, 9])
@pytest.mark.parametrize("augmentation", ["none", "flip_crop"])
def test_a_training_that_was_taken_up_again_ends_with_the_same_weights(compressed, data, small, at, augmentation):
    recipe = Recipe(epochs=1.9, batch_size=33, augmentation=augmentation)  # over the end of an epoch
    whole = tuned(compressed, data, small, recipe)
    first = FineTuning(copy.deepcopy(compressed), *data, reference=small, recipe=recipe)
    list(first.run(at, every=3))
    kept = save(first.state().tensors)  # through a file's bytes, as it is kept
    again = FineTuning(copy.deepcopy(compressed), *data, reference=small, recipe=recipe)
    again.restore(TuningState(at, load(kept)))
    assert [told.steps for told in again.run(every=100)] == [9] if at < 9 else again.done == 9
    assert same(again.result().state_dict(), whole.result().state_dict())
    assert same(again.state().tensors, whole.state().tensors)


def test_a_state_is_a_copy(compressed, data, small):
    tuning = FineTuning(copy.deepcopy(compressed), *data, reference=small, recipe=PLAIN)
    list(tuning.run(2))
    state = tuning.state()
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}
    list(tuning.run(2))
    assert same(state.tensors, before)
    other = FineTuning(copy.deepcopy(compressed), *data, reference=small, recipe=PLAIN)
    other.restore(state)
    list(other.run(2))
    assert same(state.tensors, before)


def test_the_result_is_the_moving_average(compressed, data, small):
    recipe = Recipe(epochs=2, batch_size=32, augmentation="none", ema_decay=0.6)
    tuning = FineTuning(copy.deepcopy(compressed), *data, reference=small, recipe=recipe)
    average = {name: tensor.double() for name, tensor in compressed.state_dict().items()}
    for step in range(10):
        list(tuning.run(1))
        decay = min(0.6, (1 + step) / (10 + step))
        for name, tensor in tuning.network.state_dict().items():
            kept = average[name] * decay + tensor.double() * (1 - decay)
            average[name] = kept if tensor.is_floating_point() else tensor.double()
    for name, tensor in tuning.result().state_dict().items():
        torch.testing.assert_close(tensor.double(), average[name], rtol=1e-5, atol=1e-7)


def test_without_an_average_the_result_is_the_last_weights(compressed, data, small):
    tuning = tuned(compressed, data, small, PLAIN)
    assert same(tuning.result().state_dict(), tuning.network.state_dict())


def test_modes_reference_and_result_are_as_they_should_be(compressed, data, small):
    before = copy.deepcopy(small.state_dict())
    compressed.bn1.eval()
    tuning = tuned(compressed, data, small, PLAIN)
    assert same(small.state_dict(), before)
    assert not tuning.network.training
    assert not any(module.training for module in tuning.result().modules())
    assert int(tuning.network.bn1.num_batches_tracked) == int(compressed.bn1.num_batches_tracked) + 10


def test_frozen_weights_stay(compressed, data, small):
    compressed.fc.weight.requires_grad_(requires_grad=False)
    tuning = tuned(compressed, data, small, PLAIN)
    assert torch.equal(tuning.network.fc.weight, compressed.fc.weight)
    assert not torch.equal(tuning.network.fc.bias, compressed.fc.bias)


def test_bytes_are_prepared_after_they_were_altered(compressed, small):
    images = torch.randint(0, 256, (64, 3, 12, 12), dtype=torch.uint8)
    floats = images.float() / 255
    recipe = Recipe(epochs=1, batch_size=32, augmentation="flip_crop")
    ours = tuned(compressed, (images, None), small, recipe, prepare=lambda batch: batch.float() / 255)
    other = tuned(compressed, (floats, None), small, recipe)
    assert same(ours.network.state_dict(), other.network.state_dict())


def test_it_needs_labels_or_the_dense_network(compressed, data, small):
    images, labels = data
    assert tuned(compressed, (images, None), small, PLAIN).done == 10
    assert tuned(compressed, data, None, PLAIN).done == 10
    with pytest.raises(MissingInput, match="nothing to learn from"):
        FineTuning(compressed, images, None, reference=None)
    with pytest.raises(MissingInput, match="no images"):
        FineTuning(compressed, images[:0], None, reference=small)
    with pytest.raises(ShapeMismatch, match="differ in number"):
        FineTuning(compressed, images, labels[:5], reference=small)


def test_a_training_that_leaves_the_numbers_says_so(compressed, data, small):
    recipe = Recipe(epochs=20, batch_size=32, augmentation="none", learning_rate=1e9)
    with pytest.raises(NotFinite, match="smaller learning_rate"):
        tuned(compressed, data, small, recipe)


def test_gradients_can_be_bounded(compressed, data, small):
    bounded = Recipe(epochs=0.2, batch_size=32, augmentation="none", ema_decay=0, weight_decay=0, gradient_norm=1e-3)
    tuning = tuned(compressed, data, small, bounded)
    assert tuning.total == 1
    own = dict(compressed.named_parameters())
    moved = [(one - own[name]).flatten() for name, one in tuning.network.named_parameters()]
    assert float(torch.cat(moved).detach().norm()) == pytest.approx(1e-3 * 0.02 * one_cycle(0, 1), rel=1e-2)


def test_another_trainings_state_is_refused(compressed, data, small):
    tuning = FineTuning(copy.deepcopy(compressed), *data, reference=small, recipe=PLAIN)
    other = FineTuning(Small(), *data, reference=small, recipe=PLAIN).state()
    late = TuningState(11, tuning.state().tensors)
    for state in (other, late, TuningState(1, {})):
        with pytest.raises(ShapeMismatch, match="begin anew"):
            tuning.restore(state)


def test_outputs_that_are_no_logits_are_refused(data):
    network = torch.nn.Conv2d(3, 4, 3)
    with pytest.raises(ShapeMismatch, match="for classifiers"):
        list(FineTuning(network, data[0], None, reference=network, recipe=PLAIN).run())


@pytest.mark.parametrize("total", [1, 2, 7, 400])
def test_the_rate_goes_up_and_down_once(total):
    rates = [one_cycle(step, total) for step in range(total)]
    peak = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if total == 400:
        assert (rates[0], rates[100], rates[-1]) == (1 / 25, 1.0, pytest.approx(1 / 250_000))


def test_it_is_the_cycle_of_torch():
    """An independent oracle, with the peak at the same step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=401, pct_start=101 / 401)
    for step in range(401):
        assert cycle.get_last_lr()[0] == pytest.approx(one_cycle(step, 401), abs=2e-2)
        optimizer.step()
        cycle.step() if step < 400 else None


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": math.inf}, {"distillation": 1.1}, {"ema_decay": 1.0},
     {"momentum": -0.1}, {"temperature": 0}, {"augmentation": "mixup"}],
)  # fmt: skip
def test_a_recipe_that_cannot_be_trained_with_is_refused(wrong):
    with pytest.raises(ProxyError):
        Recipe(**wrong)


def test_class_scores_in_a_dict_are_learnt_from_as_those_by_themselves(compressed, data, small):
    class Named(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images):
            return {"out": self.network(images)}

    plain = tuned(compressed, data, small, PLAIN).network.state_dict()
    named = tuned(Named(compressed), data, Named(small), PLAIN).network.network.state_dict()
    assert same(named, plain)
