import copy
import gc
import hashlib
import weakref

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.model_summaries import summarise_model
from ranksearch.documents import load, pack
from tests.ranksearch.documents.networks import Forked, assert_same_outputs, randomised

IMAGES = torch.randn(2, 3, 12, 12)


class Applied(nn.Module):
    """Any function of any modules."""

    def __init__(self, function, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.function = function

    def forward(self, *inputs):
        return self.function(self, *inputs)


def packed(tmp_path, function, *inputs, **modules):
    network = Applied(function, **modules).eval()
    return network, load(pack(network, inputs or IMAGES, tmp_path / "m.safetensors"))


def code_of(tmp_path, function, *inputs, **modules):
    with pytest.raises(DocumentError) as caught:
        packed(tmp_path, function, *inputs, **modules)
    assert not list(tmp_path.iterdir())
    return caught.value.code


def test_a_forked_network_gives_the_same_outputs(forked, reloaded):
    assert_same_outputs(forked, reloaded, torch.randn(5, 3, 12, 12))


def test_the_safetensors_package_reads_the_weights(forked, forked_document):
    assert torch.equal(load_file(forked_document)["head.weight"], forked.head.weight)


def test_the_same_model_gives_the_same_bytes(forked, forked_document, tmp_path):
    again = pack(copy.deepcopy(forked), torch.randn(3, 3, 12, 12), tmp_path / "again.safetensors")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(forked_document.read_bytes()).digest()


def test_each_module_keeps_its_mode(tmp_path):
    network = Forked().train()
    network.stem.eval()
    before = [module.training for module in network.modules()]
    pack(network, IMAGES, tmp_path / "m.safetensors")
    assert [module.training for module in network.modules()] == before


def test_modes_come_back_after_a_failure(tmp_path):
    network = Applied(lambda _, x: x * float(x.sum())).train()
    with pytest.raises(DocumentError):
        pack(network, IMAGES, tmp_path / "m.safetensors")
    assert network.training


def test_an_existing_file_survives_a_failure(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_text("mine")
    with pytest.raises(DocumentError):
        pack(Applied(lambda _, x: torch.rand_like(x) + x), IMAGES, path)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_one_example_is_enough_for_a_free_batch(forked, tmp_path):
    loaded = load(pack(forked, torch.randn(1, 3, 12, 12), tmp_path / "m.safetensors"))
    assert_same_outputs(forked, loaded, torch.randn(3, 3, 12, 12))


def test_several_inputs_and_nested_outputs(tmp_path):
    def function(self, a, b):
        return {"sum": a + b, "more": [self.conv(a), (b, None)]}

    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    network, loaded = packed(tmp_path, function, a, b, conv=nn.Conv2d(3, 2, 1))
    got, expected = loaded(a, b), network(a, b)
    assert torch.equal(got["sum"], expected["sum"])
    assert torch.equal(got["more"][0], expected["more"][0])
    assert isinstance(got["more"], list)
    assert isinstance(got["more"][1], tuple)
    assert got["more"][1][1] is None


def test_specs_leave_the_batch_out(forked_document):
    summary = summarise_model(forked_document)
    assert [spec.model_dump() for spec in summary.inputs] == [{"shape": (3, 12, 12), "dtype": "float32", "name": "x"}]
    assert [spec.model_dump() for spec in summary.outputs] == [{"shape": (5,), "dtype": "float32", "name": "output"}]


def test_integer_inputs(tmp_path):
    tokens = torch.randint(0, 7, (2, 5))
    network, loaded = packed(tmp_path, lambda self, x: self.e(x).mean(1), tokens, e=nn.Embedding(7, 4))
    assert_same_outputs(network, loaded, tokens)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_dtypes(tmp_path, dtype):
    network = randomised(Forked()).to(dtype)
    loaded = load(pack(network, IMAGES.to(dtype), tmp_path / "m.safetensors"))
    assert loaded.head.weight.dtype == dtype


def test_channels_last_weights(tmp_path):
    conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    network, loaded = packed(tmp_path, lambda self, x: self.conv(x).flatten(1), conv=conv)
    assert_same_outputs(network, loaded, IMAGES)


def test_weights_that_are_views(tmp_path):
    big = torch.randn(8, 6, 3, 3)
    network = Forked()
    network.stem[0].weight = nn.Parameter(big[:, ::2])
    assert_same_outputs(network.eval(), load(pack(network, IMAGES, tmp_path / "m.safetensors")), IMAGES)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", ["same", "valid", 1])
def test_paddings(tmp_path, mode, padding):
    conv = nn.Conv2d(3, 4, 3, padding=padding, padding_mode=mode)
    network, loaded = packed(tmp_path, lambda self, x: self.conv(x), conv=conv)
    assert_same_outputs(network, loaded, IMAGES)
    assert isinstance(loaded.conv, nn.Conv2d)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions_of_every_dimension(tmp_path, dims):
    conv, up = (getattr(nn, f"{kind}{dims}d") for kind in ("Conv", "ConvTranspose"))
    norm = getattr(nn, f"BatchNorm{dims}d")(4)
    inputs = torch.randn(2, 3, *(6,) * dims)
    network, loaded = packed(
        tmp_path,
        lambda self, x: self.up(self.norm(self.conv(x))),
        inputs,
        conv=conv(3, 4, 3, stride=2, padding=1, dilation=1),
        norm=norm,
        up=up(4, 6, 3, stride=2, groups=2, output_padding=1, dilation=2, bias=False),
    )
    assert_same_outputs(network, loaded, inputs)
    assert type(loaded.up) is up
    assert type(loaded.norm) is type(norm)


def test_a_module_called_twice_is_one_module(tmp_path):
    conv = nn.Conv2d(3, 3, 3, padding=1)
    network, loaded = packed(tmp_path, lambda self, x: self.a(self.b(x)), a=conv, b=conv)
    assert_same_outputs(network, loaded, IMAGES)
    assert loaded.a is loaded.b
    assert loaded.state_dict().keys() == network.state_dict().keys()


def test_tied_weights_stay_tied(tmp_path):
    one, two = nn.Linear(12, 12), nn.Linear(12, 12)
    two.weight = one.weight
    network, loaded = packed(tmp_path, lambda self, x: self.two(self.one(x)), one=one, two=two)
    assert_same_outputs(network, loaded, IMAGES)
    assert loaded.one.weight is loaded.two.weight
    assert summarise_model(tmp_path / "m.safetensors").params == 144 + 24


def test_tied_memory_is_stored_once(tmp_path):
    one, two = nn.Linear(12, 12, bias=False), nn.Linear(12, 12, bias=False)
    two.weight = nn.Parameter(one.weight.data)
    _, loaded = packed(tmp_path, lambda self, x: self.two(self.one(x)), one=one, two=two)
    assert loaded.one.weight is loaded.two.weight


def test_a_module_called_in_two_ways_stays_operators(tmp_path):
    def function(self, x):
        return self.conv(x) + functional.conv2d(x, self.conv.weight, self.conv.bias, padding=2, dilation=2)

    conv = nn.Conv2d(3, 3, 3, padding=1)
    network, loaded = packed(tmp_path, function, conv=conv)
    assert_same_outputs(network, loaded, IMAGES)
    assert not isinstance(loaded.conv, nn.Conv2d)


def test_a_weight_used_otherwise_too_stays_with_operators(tmp_path):
    conv = nn.Conv2d(3, 3, 1)
    network, loaded = packed(tmp_path, lambda self, x: self.conv(x) + self.conv.weight.sum(), conv=conv)
    assert_same_outputs(network, loaded, IMAGES)


def test_a_bare_weight_stays_a_parameter(tmp_path):
    network, loaded = packed(
        tmp_path, lambda self, x: functional.conv2d(x, self.w), w=nn.Parameter(torch.randn(4, 3, 1, 1))
    )
    assert_same_outputs(network, loaded, IMAGES)
    assert isinstance(loaded.w, nn.Parameter)


def test_a_frozen_momentum_of_none_survives(tmp_path):
    _, loaded = packed(tmp_path, lambda self, x: self.n(x), n=nn.BatchNorm2d(3, momentum=None))
    assert loaded.n.momentum is None


def test_normalisation_without_affine_terms_or_statistics(tmp_path):
    plain, batchwise = nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, track_running_stats=False)
    network, loaded = packed(tmp_path, lambda self, x: self.b(self.a(x)), a=plain, b=batchwise)
    assert_same_outputs(network, loaded, IMAGES)


def test_writes_into_a_part_keep_their_meaning(tmp_path):
    def function(_, x):
        y = x * 2
        y[:, 0] = y[:, 1] + 1
        z = y.view(y.size(0), -1)
        y.mul_(3)
        return z + y.flatten(1).relu_()

    network, loaded = packed(tmp_path, function)
    assert_same_outputs(network, loaded, IMAGES)


@pytest.mark.parametrize("function", [lambda _, x: x.relu_() + x, lambda _, x: x[:, 1:].mul_(2).sum(1) + x[:, 0]])
def test_the_caller_s_images_stay_as_they_are(tmp_path, function):
    network, loaded = packed(tmp_path, function)
    assert_same_outputs(network, loaded, IMAGES)
    mine = IMAGES.clone()
    loaded(mine)
    assert torch.equal(mine, IMAGES)


def test_attention(tmp_path):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    inputs = torch.randn(2, 5, 8)
    network, loaded = packed(tmp_path, lambda self, x: self.layer(x), inputs, layer=layer)
    assert_same_outputs(network, loaded, inputs)


def test_infinite_constants_are_kept(tmp_path):
    def function(_, x):
        mask = torch.tensor([0.0, float("-inf"), 0.0]).view(1, 3, 1, 1)
        return (x + mask).softmax(1).masked_fill(x > 2, float("-inf"))

    network, loaded = packed(tmp_path, function)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), network(IMAGES))


def test_unused_parts_are_left_out(tmp_path):
    _, loaded = packed(tmp_path, lambda self, x: self.a(x), a=nn.Conv2d(3, 1, 1), b=nn.Linear(2, 2))
    assert set(loaded.state_dict()) == {"a.weight", "a.bias"}


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (lambda _, x: x * float(x.sum()), "document_not_exportable"),
        (lambda _, x: x.reshape(2, -1), "document_not_exportable"),
        (lambda _, x: x.sum(), "document_not_exportable"),
        (lambda _, x: (x, 3), "document_not_exportable"),
        (lambda _, x: functional.dropout(x), "document_not_exportable"),
        (lambda _, x: x + torch.randn_like(x), "document_unknown_operator"),
        (lambda _, x: torch.fft.fft(x).real, "document_unknown_operator"),
        (lambda _, x: x.to(torch.complex64), "document_not_exportable"),
    ],
)
def test_what_cannot_be_packed_is_refused(tmp_path, function, code):
    assert code_of(tmp_path, function) == code


def test_a_model_that_counts_its_calls_is_refused(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls.add_(1)
            return x + self.calls

    with pytest.raises(DocumentError) as caught:
        pack(Counting(), IMAGES, tmp_path / "m.safetensors")
    assert caught.value.code == "document_not_exportable"
    assert "calls" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    conv = nn.Conv2d(3, 3, 1)
    conv.weight.data[0, 0] = value
    assert code_of(tmp_path, lambda self, x: self.conv(x), conv=conv) == "document_not_finite"


@pytest.mark.parametrize("inputs", [(), (torch.zeros(()),), ("text",), (torch.zeros(2, 1), torch.zeros(3, 1))])
def test_inputs_without_a_common_batch_are_refused(tmp_path, inputs):
    with pytest.raises(DocumentError) as caught:
        pack(nn.Identity(), inputs, tmp_path / "m.safetensors")
    assert caught.value.code == "document_not_exportable"


def test_a_refusal_says_where_the_operator_is(tmp_path):
    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    with pytest.raises(DocumentError, match="'noise'"):
        pack(Applied(lambda self, x: self.noise(x), noise=Noise()), IMAGES, tmp_path / "m.safetensors")


def test_the_model_can_be_collected_after_packing(tmp_path):
    network = Forked()
    pack(network, IMAGES, tmp_path / "m.safetensors")
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None
