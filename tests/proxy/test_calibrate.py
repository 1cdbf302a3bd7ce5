import copy

import pytest
import torch

import proxy
from tests.proxy.conftest import seeded

CHOICE = {
    "conv1": {"method": "cp3", "rank": 6},
    "conv2": {"method": "tucker2", "ranks": {"out": 6, "in": 5}},
    "conv3": {"method": "cp3", "rank": 10},
    "fc": {"method": "svd", "rank": 4},
}


def outputs(model, name, batches, *, as_rows=True):
    """All outputs of one module, channels last, as rows."""
    seen = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda _m, _a, out: seen.append(out.movedim(1, -1).flatten(0, -2) if as_rows and out.ndim > 2 else out)
    )
    with torch.no_grad():
        for batch in batches:
            model(batch)
    handle.remove()
    return torch.cat(seen).double()


def test_batch_norms_get_the_average_over_the_batches(small, images):
    model = proxy.compress(small, {"conv1": CHOICE["conv1"]})
    proxy.calibrate(model, images)
    batches = [outputs(model, "conv1", [batch]) for batch in images]
    mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    variance = torch.stack([batch.var(0) for batch in batches]).mean(0)
    torch.testing.assert_close(model.bn1.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.bn1.running_var.double(), variance, rtol=1e-4, atol=1e-5)


def test_later_batch_norms_see_normalised_features(small, images):
    model = proxy.compress(small, {"conv1": CHOICE["conv1"]})
    proxy.calibrate(model, images[:1])
    data = outputs(model, "conv2", images[:1])
    torch.testing.assert_close(model.bn2.running_mean.double(), data.mean(0), rtol=2e-2, atol=2e-3)


def test_nothing_but_the_statistics_changes(small, images):
    small.bn1.momentum = 0.3
    model = proxy.compress(small, {"conv1": CHOICE["conv1"]})
    model.train()
    model.bn2.eval()
    model.conv2.weight.requires_grad_(requires_grad=False)
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    proxy.calibrate(model, images)
    assert modes == [module.training for module in model.modules()]
    assert model.bn1.momentum == 0.3
    assert not model.conv2.weight.requires_grad
    changed = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {f"bn{i}.running_{what}" for i in (1, 2) for what in ("mean", "var")}
    assert not any(module._forward_hooks for module in model.modules())


def test_the_reference_is_left_alone(small, images):
    before = copy.deepcopy(small.state_dict())
    proxy.calibrate(proxy.compress(small, CHOICE), images, reference=small)
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())


def test_it_is_deterministic(small, images):
    models = [proxy.compress(small, CHOICE) for _ in range(2)]
    for model in models:
        proxy.calibrate(model, images, reference=small)
    assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in models), strict=True))


def test_it_tells_what_it_did(small, images):
    told = proxy.calibrate(proxy.compress(small, CHOICE), images, reference=small)
    assert (told.images, told.batch_norms, told.corrected) == (128, ("bn1", "bn2"), ("conv3", "fc"))


@pytest.mark.parametrize("level", ["statistics", "reconstruction"])
def test_no_images_are_refused(small, level):
    with pytest.raises(proxy.MissingInput):
        proxy.calibrate(proxy.compress(small, CHOICE), [], reference=small, level=level)


@pytest.mark.parametrize("level", ["statistics", "reconstruction"])
def test_images_that_are_no_numbers_are_refused(small, level):
    bad = seeded(8, 3, 12, 12, dtype=torch.float32)
    bad[3] = float("nan")
    with pytest.raises(proxy.NotFinite):
        proxy.calibrate(proxy.compress(small, CHOICE), [bad], reference=small, level=level)


def test_an_unknown_level_is_refused(small, images):
    with pytest.raises(proxy.UnsupportedMethod):
        proxy.calibrate(small, images, level="magic")


def test_batches_with_labels_and_generators_will_do(small, images):
    one, other = (proxy.compress(small, CHOICE) for _ in range(2))
    proxy.calibrate(one, images, reference=small)
    proxy.calibrate(other, ((batch, None) for batch in images), reference=small)
    assert torch.equal(one.bn2.running_mean, other.bn2.running_mean)
