"""Networks that people have, through torch's exporters and back: the same outputs, layers that can be factorised."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

import proxy
from tests.ranksearch.documents.from_onnx.graphs import assert_computes, packed
from tests.ranksearch.documents.networks import randomised

NETWORKS = {
    "resnet18": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "squeezenet1_1": 64,
    "efficientnet_b0": 32,
}


class UNet(nn.Module):
    """Down by a convolution and by pooling, up by a transposed one and by interpolation, joined again."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.middle = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.GroupNorm(3, 12), nn.SiLU())
        self.up = nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Conv2d(24, 2, 1)

    def forward(self, x):
        first = self.stem(x)
        second = self.down(first)
        lowest = self.middle(functional.max_pool2d(second, 2))
        second = second + functional.interpolate(lowest, scale_factor=2, mode="bilinear", align_corners=False)
        pooled = functional.interpolate(functional.avg_pool2d(first, 4), size=first.shape[2:], mode="nearest")
        return self.head(torch.cat([first, self.up(second), pooled], 1))


class Attention(nn.Module):
    """Patches, a layer of attention, and a classifier on their mean."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.norm = nn.LayerNorm(16)
        self.project = nn.Linear(16, 48)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.norm(self.patches(x).flatten(2).transpose(1, 2))
        query, key, value = self.project(x).chunk(3, dim=-1)
        scores = torch.softmax(query @ key.transpose(1, 2) / 4, dim=-1)
        return self.head(functional.gelu(x + scores @ value).mean(1))


def plain_vgg():
    """With one linear layer at its end, as small images need no more."""
    features = torchvision.models.vgg11(weights=None, init_weights=False, num_classes=1).features
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def network_of(name):
    torch.manual_seed(0)
    made = {"unet": UNet, "attention": Attention, "vgg11": plain_vgg}.get(name)
    if made is not None:
        return randomised(made()), 32
    return randomised(torchvision.models.get_model(name, weights=None)), NETWORKS[name]


def exported(network, size, path, *, dynamo, batch="free", opset=None):
    """As somebody would export it; the older exporter writes the batch by name, the newer one by a symbol."""
    example, version = (torch.randn(1 if batch == "one" else 2, 3, size, size),), {"opset_version": opset}
    if dynamo:
        free = None if batch == "one" else ({0: torch.export.Dim("batch")},)
        torch.onnx.export(network, example, path, dynamo=True, external_data=False, dynamic_shapes=free, verbose=False)
    else:
        free = {} if batch == "one" else {"x": {0: "batch"}}
        torch.onnx.export(network, example, path, dynamo=False, input_names=["x"], dynamic_axes=free, **version)
    return path


def layers_of(network):
    """Name → kind and weight's shape of all layers that could be factorised."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    modules = network.named_modules()
    return {name: (type(layer), layer.weight.shape) for name, layer in modules if isinstance(layer, kinds)}


pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch's older exporter, which people still use
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
CASES = [
    *((name, False) for name in (*NETWORKS, "vgg11", "unet", "attention")),
    ("unet", True),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]} by {'dynamo' if case[1] else 'TorchScript'}")
def translated(request, tmp_path_factory):
    name, dynamo = request.param
    network, size = network_of(name)
    path = exported(network, size, tmp_path_factory.mktemp("onnx") / "net.onnx", dynamo=dynamo)
    return network, packed(path), path, size


def test_outputs_are_onnx_runtimes_at_another_batch(translated):
    _, loaded, path, size = translated
    assert_computes(path, loaded, torch.randn(3, 3, size, size), tolerance=1e-4)


def test_layers_keep_their_names_kinds_and_shapes(translated):
    network, loaded, _, _ = translated
    assert layers_of(loaded) == layers_of(network)


def test_a_network_whose_batchnorms_were_folded_is_compressed_and_calibrated(tmp_path):
    network, size = network_of("unet")
    loaded = packed(exported(network, size, tmp_path / "net.onnx", dynamo=False))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in loaded.modules())
    images = torch.randn(16, 3, size, size)
    small = proxy.compress(loaded, {"middle.0": {"method": "tucker2", "ranks": {"out": 4, "in": 4}}})
    before = proxy.score(small, [(images, None)], reference=loaded, metric="features")
    proxy.calibrate(small, [images], reference=loaded, level="reconstruction")
    assert proxy.score(small, [(images, None)], reference=loaded, metric="features").value < before.value


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_batch_of_one_is_made_free(dynamo, tmp_path):
    network, size = network_of("attention")
    path = exported(network, size, tmp_path / "net.onnx", dynamo=dynamo, batch="one")
    loaded = packed(path, verify=True)
    images = torch.randn(4, 3, size, size)
    with torch.no_grad():
        assert torch.allclose(loaded(images), network(images), atol=1e-4)


@pytest.mark.parametrize("opset", [11, 13, 16])
def test_older_operators(opset, tmp_path):
    network, size = network_of("unet")
    path = exported(network, size, tmp_path / "net.onnx", dynamo=False, opset=opset)
    assert_computes(path, packed(path), torch.randn(3, 3, size, size), tolerance=1e-4)
