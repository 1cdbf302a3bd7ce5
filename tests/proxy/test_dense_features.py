import torch
from torch import nn

import proxy
from proxy.dense_features import recorded_bytes
from proxy.targets import positions_of
from tests.proxy.conftest import seeded


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def test_the_outputs_are_kept_at_the_positions_looked_at(monkeypatch):
    monkeypatch.setattr("proxy.targets._ENOUGH", 50)
    dense, images = net(), seeded(6, 3, 5, 7, dtype=torch.float32)
    features = proxy.record_dense(dense, images.split(2), ["0", "4"])
    positions = positions_of(35, 6, images.device)
    assert len(positions) == 9
    with torch.no_grad():
        torch.testing.assert_close(features.samples["0"].output, dense[0](images).flatten(2).mT[:, positions])
        torch.testing.assert_close(features.samples["4"].output, dense(images)[:, None])
    assert features.samples["0"].added is None


def test_some_of_the_images_are_looked_at_as_all_of_them_will_be(monkeypatch):
    monkeypatch.setattr("proxy.targets._ENOUGH", 50)
    images = seeded(2, 3, 5, 7, dtype=torch.float32)
    features = proxy.record_dense(net(), [images], ["0"], images=10)
    assert features.samples["0"].output.shape == (2, 5, 4)


def test_what_will_be_kept_of_an_image_is_known_before(monkeypatch):
    monkeypatch.setattr("proxy.targets._ENOUGH", 50)
    dense, images = net(), seeded(6, 3, 5, 7, dtype=torch.float32)
    sizes = recorded_bytes(dense, images[:1], ["0", "4"], images=6)
    features = proxy.record_dense(dense, [images], ["0", "4"])
    assert {name: 6 * size.kept for name, size in sizes.items()} == {
        name: sample.nbytes for name, sample in features.samples.items()
    }
    assert {name: size.whole for name, size in sizes.items()} == {"0": 4 * 35 * 4, "4": 2 * 4}
