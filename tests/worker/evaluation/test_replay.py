import pytest
import torch

from tests.worker.evaluation.test_sensitivity import Residual
from worker.evaluation.replay import DensePass


def network_and_images():
    torch.manual_seed(0)
    return Residual().eval(), torch.randn(4, 3, 8, 8)


def test_a_layer_in_its_own_place_changes_nothing():
    network, images = network_and_images()
    dense = DensePass(network, images)
    for layer in (network.stem, network.one, network.two, network.side, network.head):
        torch.testing.assert_close(dense.exchanged(layer, type(layer).forward.__get__(layer)), dense.outputs)


def test_another_module_acts_in_the_layers_place():
    network, images = network_and_images()
    other = torch.nn.Conv2d(16, 16, 3, padding=1)
    found = DensePass(network, images).exchanged(network.two, other)
    network.two = other
    with torch.no_grad():
        torch.testing.assert_close(found, network(images))


def test_what_precedes_the_layer_is_not_computed_again(monkeypatch):
    network, images = network_and_images()
    dense = DensePass(network, images)
    seen = []
    plain = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: seen.append(self) or plain(self, x))
    dense.exchanged(network.side, lambda x: plain(network.side, x))
    assert network.one not in seen
    assert network.two not in seen


def test_the_network_is_itself_again_after_a_failure():
    network, images = network_and_images()
    dense = DensePass(network, images)
    with pytest.raises(ZeroDivisionError):
        dense.exchanged(network.two, lambda _: 1 / 0)
    assert not any("forward" in vars(module) for module in network.modules())
