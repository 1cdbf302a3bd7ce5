"""Networks that people have, there and back: same outputs at other batches, same names."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch
import torchvision

from ranksearch.contracts.model_summaries import summarise_model
from ranksearch.documents import load, pack
from tests.ranksearch.documents.networks import assert_same_outputs, layer_names, randomised

NETWORKS = {
    "resnet18": 32,
    "vgg11_bn": 32,
    "alexnet": 64,
    "mobilenet_v2": 32,
    "squeezenet1_1": 32,
    "densenet121": 32,
    "googlenet": 32,
    "efficientnet_b0": 32,
    "regnet_y_400mf": 32,
    "convnext_tiny": 32,
    "shufflenet_v2_x0_5": 32,
    "lraspp_mobilenet_v3_large": 64,
}
OPTIONS = {
    "googlenet": {"init_weights": False, "aux_logits": False},
    "lraspp_mobilenet_v3_large": {"weights_backbone": None},
    "vgg11_bn": {"num_classes": 10, "init_weights": False},
}


class TensorOut(torch.nn.Module):
    """A segmentation network's one output; its names keep their own root."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)["out"]


@pytest.fixture(scope="module", params=NETWORKS)
def packed(request, tmp_path_factory):
    torch.manual_seed(0)
    name, size = request.param, NETWORKS[request.param]
    network = randomised(torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {})))
    network = TensorOut(network) if name.startswith("lraspp") else network
    path = pack(network, torch.randn(2, 3, size, size), tmp_path_factory.mktemp("m") / "m.safetensors", verify=False)
    return network, path, load(path), size


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_are_the_original_s_at_another_batch(packed, batch):
    network, _, loaded, size = packed
    assert_same_outputs(network, loaded, torch.randn(batch, 3, size, size))


def test_layers_keep_their_names_and_kinds(packed):
    network, _, loaded, _ = packed
    assert layer_names(loaded) == layer_names(network)
    assert all(type(loaded.get_submodule(name)) is type(network.get_submodule(name)) for name in layer_names(network))


def test_the_state_dict_is_the_original_s(packed):
    network, _, loaded, _ = packed
    original, state = network.state_dict(), loaded.state_dict()
    assert state.keys() == original.keys()
    assert all(torch.equal(state[name], original[name]) for name in original)


def test_parameters_are_counted(packed):
    network, path, _, _ = packed
    assert summarise_model(path).params == sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module")
def cifar():
    default = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("RANKSEARCH_SHARED_DATA", default))
    if not (folder / "cifar.py").exists():
        pytest.skip(f"no shared data in {folder}")
    spec = importlib.util.spec_from_file_location("shared_cifar", folder / "cifar.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.shared
@pytest.mark.parametrize("depth", [20, 56])
def test_a_trained_network_classifies_as_before(cifar, depth, tmp_path):
    network = cifar.resnet(depth)
    images, _ = cifar.images("test", 50)
    loaded = load(pack(network, torch.randn(4, 3, 32, 32), tmp_path / "m.safetensors"))
    assert_same_outputs(network, loaded, cifar.preprocess(images))
