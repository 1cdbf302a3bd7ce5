"""The estimate against what it estimates: Jacobians written out, refits in double precision, changes measured."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import proxy
from proxy.alternating import add_patches, refit_last
from proxy.moments import CrossMoments
from proxy.reconstruction import reconstruct
from proxy.surroundings import Surroundings
from proxy.targets import Sample, Target

METHODS = {
    "cp3": {"method": "cp3", "rank": 5},
    "tucker2": {"method": "tucker2", "ranks": {"out": 4, "in": 3}},
    "spatial_svd": {"method": "spatial_svd", "rank": 4},
    "svd": {"method": "svd", "rank": 2},
}


class Smooth(nn.Module):
    """A classifier whose parts change in place, with a residual addition."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 8, 3, padding=1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 8, 3, padding=1, stride=2, groups=groups)
        self.side = nn.Conv2d(8, 8, 1, stride=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu_(self.norm(self.one(x)))
        y = self.two(x)
        y += self.side(x)
        return self.head(nn.functional.silu(y).mean((2, 3)))


def network(seed: int = 0, groups: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    made = Smooth(groups).double().eval()
    made.norm.running_mean.normal_(0, 0.2)
    made.norm.running_var.uniform_(0.5, 2)
    return made


def images(count: int = 24, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def factors_of(dense: nn.Module, name: str, method: str) -> proxy.Factors:
    return proxy.factorize(dense, {name: METHODS[method]})[name]


def refitted(dense: nn.Module, name: str, factors: proxy.Factors, x: torch.Tensor) -> nn.Module:
    """The network with this layer alone factorised and its last layer refitted, by the one pass of reconstruction."""
    small = proxy.assemble(dense, {name: factors})
    reconstruct(small, dense, [x])
    return small


def plainly(dense: nn.Module, name: str, factors: proxy.Factors, x: torch.Tensor) -> float:
    """E‖P J δ‖² with J written out, image by image."""
    small = proxy.assemble(nn.Sequential(dense.get_submodule(name)), {"0": factors})
    met: dict[str, torch.Tensor] = {}
    handle = dense.get_submodule(name).register_forward_hook(
        lambda _m, args, out: met.update(entering=args[0].detach().clone(), output=out.detach().clone())
    )
    dense(x)
    handle.remove()
    features = proxy.record_dense(nn.Sequential(dense.get_submodule(name)), [met["entering"]], ["0"])
    proxy.calibrate(small, (), reference=features, level="reconstruction")
    delta = (small(met["entering"]) - met["output"]).detach()
    total = 0.0
    for at in range(len(x)):

        def answer(output: torch.Tensor, at: int = at) -> torch.Tensor:
            handle = dense.get_submodule(name).register_forward_hook(lambda _m, _a, _o: output.clone())
            logits: torch.Tensor = dense(x[at : at + 1])
            handle.remove()
            return logits[0]

        jacobian = torch.autograd.functional.jacobian(answer, met["output"][at : at + 1])
        moved = torch.einsum("k...,...->k", jacobian, delta[at : at + 1])
        total += float((moved - moved.mean()).square().sum())
    return total / len(x)


@pytest.mark.parametrize(
    ("name", "method"),
    [("one", "cp3"), ("two", "tucker2"), ("two", "spatial_svd"), ("side", "svd"), ("head", "svd")],
)
def test_it_is_the_mean_square_of_what_the_jacobian_makes_of_the_refitted_layers_change(name, method):
    dense, x = network(), images()
    factors = factors_of(dense, name, method)
    expected = plainly(dense, name, factors, x)
    draws = [next(iter(proxy.output_changes(dense, [((name, 0), factors)], [x], seed=seed)))[1] for seed in range(200)]
    mean = sum(draws) / len(draws)
    spread = torch.tensor(draws).std() / len(draws) ** 0.5
    assert mean == pytest.approx(expected, abs=float(4 * spread) + 0.02 * expected)
    assert expected > 0


def moments_of(dense: nn.Module, chain: nn.Module, x: torch.Tensor) -> CrossMoments:
    output = dense(x).detach()
    sample = Sample.of(output, None, channels_last=isinstance(dense, nn.Linear), images=len(x))
    moments = CrossMoments()
    add_patches(moments, chain, x, Target(sample, Surroundings(norm=None, alone=False, shortcut=None), None, len(x)))
    return moments


@pytest.mark.parametrize("method", ["cp3", "tucker2", "spatial_svd"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_a_last_layer_refitted_by_shared_moments_is_the_one_refitted_alone(method, groups, bias):
    torch.manual_seed(3)
    dense = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=bias)).double()
    x = torch.randn(16, 8, 6, 6).double() + 0.5
    factors = proxy.factorize(dense, {"0": METHODS[method]})
    alone = proxy.assemble(dense, factors)
    proxy.calibrate(alone, [x], reference=dense, level="reconstruction")
    shared = proxy.assemble(dense, factors)
    with torch.no_grad():
        refit_last(shared[0], moments_of(dense[0], shared[0], x))
        wanted, got = (float((net(x) - dense(x)).square().mean()) for net in (alone, shared))
        raw = float((proxy.assemble(dense, factors)(x) - dense(x)).square().mean())
    assert got == pytest.approx(wanted, rel=2e-2)
    assert got < raw


def test_it_orders_choices_as_the_change_measured_does():
    dense, x = network(), images(64)
    choices = [
        ((name, rank), proxy.factorize(dense, {name: {"method": method, "rank": rank}})[name])
        for name, method, ranks in (
            ("one", "cp3", (2, 4, 6, 8, 12)),
            ("two", "cp3", (4, 8, 12, 16)),
            ("side", "svd", (2, 4, 6)),
        )
        for rank in ranks
    ]
    estimated = dict(proxy.output_changes(dense, choices, [x]))
    measured = {}
    for (name, rank), factors in choices:
        with torch.no_grad():
            moved = refitted(dense, name, factors, x)(x) - dense(x)
            measured[name, rank] = float((moved - moved.mean(1, keepdim=True)).square().sum(1).mean())
    order = list(measured)
    assert spearmanr([measured[c] for c in order], [estimated[c] for c in order]).statistic > 0.95


def test_more_ranks_move_less():
    dense, x = network(), images()
    choices = [
        (("two", rank), proxy.factorize(dense, {"two": {"method": "cp3", "rank": rank}})["two"]) for rank in (2, 8, 20)
    ]
    values = [value for _, value in proxy.output_changes(dense, choices, [x])]
    assert values == sorted(values, reverse=True)


def test_a_layer_called_twice_moves_the_network_by_both_calls():
    torch.manual_seed(5)
    linear = nn.Linear(6, 6, bias=False).double()
    doubled = nn.Sequential(linear, linear)
    x = torch.randn(512, 6).double()
    factors = proxy.factorize(doubled, {"0": {"method": "svd", "rank": 3}})["0"]
    found = dict(proxy.output_changes(doubled, [(("0", 0), factors)], [x], seed=1))["0", 0]
    chain = proxy.assemble(nn.Sequential(linear), {"0": factors})
    both = torch.cat([x, linear(x).detach()])
    moments = CrossMoments()
    moments.add(both, linear(both).detach())
    with torch.no_grad():
        refit_last(chain[0], moments)
        change = [chain(x) - linear(x), chain(linear(x)) - linear(linear(x))]
        moved = change[0] @ linear.weight.mT + change[1]
    expected = float((moved - moved.mean(1, keepdim=True)).square().sum(1).mean())
    assert found == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("memory", [20_000, 100_000])
def test_in_little_memory_the_estimate_is_the_same(memory):
    dense, x = network(), images(64)
    choices = [((name, 0), factors_of(dense, name, "svd")) for name in ("side", "head")]
    whole, parts = (dict(proxy.output_changes(dense, choices, [x], **given)) for given in ({}, {"memory": memory}))
    assert parts == pytest.approx(whole, rel=1e-5)


def test_a_layer_whose_moments_are_too_large_is_not_refitted():
    dense, x = network(), images(64)
    choices = [((name, 0), factors_of(dense, name, "svd")) for name in ("side", "head")]
    whole, parts = (
        torch.tensor([[v for _, v in proxy.output_changes(dense, choices, [x], seed=s, **given)] for s in range(40)])
        for given in ({}, {"memory": 1})
    )
    assert bool((parts.mean(0) > whole.mean(0)).all())


def test_outputs_of_any_unit_are_taken_in_their_own_scale():
    class Two(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.net, self.scale = network(), scale

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            answer = self.net(x)
            return {"one": answer * self.scale, "class": answer.argmax(1), "still": torch.ones(len(x)).double()}

    x = images()
    found = []
    for scale in (1.0, 1000.0):
        dense = Two(scale).eval()
        variances = proxy.reference_outputs(dense, [x]).variances
        choices = [(("net.two", 0), factors_of(dense, "net.two", "cp3"))]
        found += [value for _, value in proxy.output_changes(dense, choices, [x], variances=variances)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert 0 < found[0] < 1


def test_maps_of_class_scores_count_as_the_mean_over_their_positions():
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 5, 3, padding=1).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    torch.manual_seed(0)
    dense, x = Maps(), images(128)
    factors = factors_of(dense, "conv", "cp3")
    found = dict(proxy.output_changes(dense, [(("conv", 0), factors)], [x]))["conv", 0]
    with torch.no_grad():
        moved = refitted(dense, "conv", factors, x)(x) - dense(x)
    expected = float((moved - moved.mean(1, keepdim=True)).square().sum(1).mean())
    assert found == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Conv1d(4, 6, 3), (4, 9)), (nn.ConvTranspose2d(4, 6, 3), (4, 5, 5)), (nn.Linear(4, 6), (7, 4))],
)
def test_layers_of_every_kind_are_taken(layer, shape):
    torch.manual_seed(0)
    dense = nn.Sequential(layer, nn.Flatten()).double().eval()
    method = (
        {"method": "svd", "rank": 2}
        if isinstance(layer, nn.Linear)
        else {"method": "tucker2", "ranks": {"out": 2, "in": 2}}
    )
    factors = proxy.factorize(dense, {"0": method})["0"]
    found = dict(proxy.output_changes(dense, [(("0", 0), factors)], [torch.randn(8, *shape).double()]))
    assert found["0", 0] > 0


def test_the_dense_network_is_left_as_it_was():
    dense, x = network().train(), images()
    dense.head.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    list(proxy.output_changes(dense, [(("two", 0), factors_of(dense, "two", "cp3"))], [x]))
    assert all(torch.equal(before[name], tensor) for name, tensor in dense.state_dict().items())
    assert dense.training
    assert not dense.head.weight.requires_grad
    assert dense.two.weight.requires_grad
    assert all(parameter.grad is None for parameter in dense.parameters())
    assert not any(module._forward_hooks for module in dense.modules())


def test_a_network_that_answers_whole_numbers_alone_is_refused():
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x).argmax(1)

    dense = Counts().eval()
    with pytest.raises(proxy.MissingInput, match="no output"):
        list(proxy.output_changes(dense, [(("net.two", 0), factors_of(dense, "net.two", "cp3"))], [images()]))


def test_images_that_are_no_numbers_are_told():
    dense, x = network(), images()
    x[3] = float("nan")
    with pytest.raises(proxy.NotFinite):
        list(proxy.output_changes(dense, [(("two", 0), factors_of(dense, "two", "cp3"))], [x]))


def test_no_images_are_refused():
    with pytest.raises(proxy.MissingInput, match="no images"):
        list(proxy.output_changes(network(), [], []))
