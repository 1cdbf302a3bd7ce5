import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import proxy
from tests.proxy.conftest import seeded

IMAGE = torch.zeros(1, 3, 12, 12)


def reason(model, image, name):
    return {site.name: site.reason_dense for site in proxy.find_sites(model, image)}[name]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg11"])
def test_the_sites_cover_all_macs(name):
    model = torchvision.models.get_model(name, weights=None)
    image = torch.zeros(2, 3, 64, 64)
    assert sum(site.macs for site in proxy.find_sites(model, image)) == proxy.cost(model, image).macs


def test_kinds_shapes_and_sizes(small):
    told = {s.name: (s.kind, s.weight_shape, s.output_size, s.calls) for s in proxy.find_sites(small, IMAGE)}
    assert told == {
        "conv1": ("conv2d", (12, 3, 3, 3), (12, 12), 1),
        "conv2": ("conv2d", (16, 12, 3, 3), (6, 6), 1),
        "conv3": ("conv2d", (16, 16, 3, 3), (6, 6), 1),
        "fc": ("linear", (10, 16), (), 1),
    }


def test_every_site_has_grids_or_a_reason():
    for site in proxy.find_sites(torchvision.models.mobilenet_v2(), torch.zeros(1, 3, 64, 64)):
        assert bool(site.grids) != bool(site.reason_dense), site


def test_the_model_is_left_as_it_was(small):
    small.train()
    small.bn1.eval()
    before, modes = copy.deepcopy(small.state_dict()), [module.training for module in small.modules()]
    proxy.find_sites(small, IMAGE)
    assert modes == [module.training for module in small.modules()]
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small.modules())


@pytest.mark.parametrize("method", ["svd", "spatial_svd", "tucker2", "cp3", "tucker2_cp3"])
def test_the_grid_tells_the_cost_of_the_compressed_model(small, method):
    before = proxy.cost(small, IMAGE)
    for site in proxy.find_sites(small, IMAGE):
        for point in site.grids.get(method, [])[::4]:
            after = proxy.cost(proxy.compress(small, {site.name: {"method": method, **point.ranks}}), IMAGE)
            assert after.macs == before.macs - site.macs + point.macs
            assert after.params == before.params - site.params + point.params


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(12, 16, (3, 5), stride=(2, 3), padding=(2, 0)),
        nn.Conv2d(12, 16, (3, 5), stride=(2, 3), padding=(2, 0), groups=2),
        nn.ConvTranspose2d(12, 16, (3, 5), stride=(2, 3), padding=(2, 0), output_padding=(0, 2)),
        nn.ConvTranspose2d(12, 16, (3, 5), stride=(2, 3), padding=(2, 0), dilation=(2, 1), groups=2),
    ],
    ids=str,
)
def test_a_strided_padded_site_tells_its_cost_by_every_method(model):
    image = torch.zeros(1, 12, 17, 23)
    (site,) = proxy.find_sites(model, image)
    assert site.macs == proxy.cost(model, image).macs
    assert set(site.grids) >= {"spatial_svd", "tucker2", "cp3"}
    for method, grid in site.grids.items():
        small = proxy.compress(model, {"": {"method": method, **grid[-1].ranks}})
        assert proxy.cost(small, image).macs == grid[-1].macs


def test_a_layer_called_twice_counts_both_calls():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    model = nn.Sequential(conv, nn.MaxPool2d(2), conv)
    (site,) = proxy.find_sites(model, torch.zeros(1, 8, 12, 12))
    assert (site.calls, site.macs) == (2, 8 * 8 * 9 * (144 + 36))
    small = proxy.compress(model, {"0": {"method": "cp3", **site.grids["cp3"][3].ranks}})
    assert proxy.cost(small, torch.zeros(1, 8, 12, 12)).macs == site.grids["cp3"][3].macs
    assert small[0] is small[2]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.other = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
        self.other.weight = self.conv.weight
        self.peeked, self.idle = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, x):
        x = self.peeked(self.other(self.conv(x)))
        return functional.conv2d(x, self.peeked.weight)


@pytest.mark.parametrize(
    ("name", "words"),
    [("conv", "shares its weight"), ("peeked", "used by another module"), ("idle", "not called")],
)
def test_layers_that_are_not_alone_stay_dense(name, words):
    assert words in reason(Tied(), torch.zeros(1, 8, 12, 12), name)


class Odd(nn.Conv2d):
    pass


def hooked():
    conv = nn.Conv2d(8, 8, 3)
    conv.register_forward_hook(lambda *_: None)
    return conv


def poisoned():
    conv = nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = float("nan")
    return conv


class Marked(torch.Tensor):
    """Stands for the tensor types of quantisation and sharding libraries."""


def holding(weight):
    conv = nn.Conv2d(8, 8, 1, bias=False)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    return conv


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Conv2d(8, 8, 3, groups=8), "depthwise"),
        (nn.Conv2d(8, 16, 3, groups=8), "depthwise"),
        (nn.ConvTranspose2d(8, 8, 3, groups=8), "depthwise"),
        (nn.Conv2d(8, 1, 1), "too small"),
        (parametrizations.weight_norm(nn.Conv2d(8, 8, 3)), "parametrised"),
        (torch.nn.utils.spectral_norm(nn.Conv2d(8, 8, 3)), "hook"),
        (Odd(8, 8, 3), "subclass"),
        (hooked(), "hooks"),
        (poisoned(), "NaN"),
        (holding(torch.zeros(8, 8, 1, 1).as_subclass(Marked)), "Marked"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unsupported_layers_stay_dense_with_the_reason(layer, words):
    model = nn.Sequential(layer)
    assert words in reason(model, torch.zeros(1, 8, 12, 12), "0")
    if words != "too small":
        with pytest.raises(proxy.UnsupportedLayer, match=words):
            proxy.compress(model, {"0": {"method": "cp3", "rank": 2}})


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (torch.zeros(8, 8, dtype=torch.complex64), "complex64"),
        (torch.zeros(8, 8).to(torch.float8_e4m3fn), "float8"),
        (torch.zeros(8, 8).to_sparse(), "sparse"),
        (torch.zeros(8, 8).to_mkldnn(), "strided"),
        (torch.zeros(8, 8, device="meta"), "meta"),
        (lambda: torch.quantize_per_tensor(torch.zeros(8, 8), 0.1, 0, torch.qint8), "quantised"),
        (nn.UninitializedParameter(), "no shape"),
    ],
    ids=["complex", "float8", "sparse", "mkldnn", "meta", "quantised", "lazy"],
)
def test_weights_without_plain_numbers_are_refused(weight, words):
    weight = weight() if callable(weight) else weight
    linear = nn.Linear(8, 8, bias=False)
    linear.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight, requires_grad=False)
    model = nn.ModuleDict({"odd": linear, "good": nn.Linear(8, 8)})
    with pytest.raises(proxy.ShapeMismatch, match=words):
        proxy.decompose(weight, "svd", 1)
    with pytest.raises(proxy.UnsupportedLayer, match=words):
        proxy.compress(model, {"odd": {"method": "svd", "rank": 1}})
    assert set(proxy.weight_hashes(model)) == {"good"}


class Idle(nn.Module):
    """Layers that no forward pass calls."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return x


def test_layers_without_entries_are_listed_nevertheless():
    model = Idle(meta=nn.Conv2d(8, 8, 3, device="meta"), lazy=nn.LazyConvTranspose2d(8, 3))
    told = {site.name: (site.weight_shape, site.weight_hash) for site in proxy.find_sites(model, IMAGE)}
    assert told == {"meta": ((8, 8, 3, 3), ""), "lazy": ((), "")}


class Resized(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 8, 3, stride=2)

    def forward(self, x):
        return self.up(x, output_size=(26, 26))


def test_a_lazy_layer_is_told_to_be_run_first():
    assert "run the network once" in reason(nn.Sequential(nn.LazyConv2d(8, 3)), IMAGE, "0")


def test_a_layer_called_with_an_output_size_stays_dense():
    assert "output_size" in reason(Resized(), torch.zeros(1, 8, 12, 12), "up")


def test_grouped_and_transposed_layers_tell_their_layout():
    model = nn.Sequential(nn.Conv2d(8, 16, 3, groups=2), nn.ConvTranspose2d(16, 32, 3, groups=4))
    told = [
        (s.weight_shape, s.layout.groups, s.layout.transposed)
        for s in proxy.find_sites(model, seeded(1, 8, 9, 9, dtype=torch.float32))
    ]
    assert told == [((16, 4, 3, 3), 2, False), ((16, 8, 3, 3), 4, True)]


def test_the_hash_is_that_of_the_weight(small):
    site = proxy.find_sites(small, IMAGE)[0]
    assert site.weight_hash == proxy.weight_hash(small.conv1.weight) == proxy.weight_hashes(small)["conv1"]


def test_keyword_inputs(small):
    assert proxy.find_sites(small, {"x": IMAGE}) == proxy.find_sites(small, (IMAGE,))


def test_the_whole_batch_gives_the_same_sites(small):
    assert proxy.find_sites(small, seeded(3, 3, 12, 12, dtype=torch.float32)) == proxy.find_sites(small, IMAGE)
