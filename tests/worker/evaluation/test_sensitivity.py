import pytest
import torch
from scipy.stats import spearmanr

import proxy
import ranksearch
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.sensitivity import estimate_sensitivity


def plainly(network, work, ranks, count=20):
    """One layer factorised in the network, refitted alone; the squared change of its centred scores on the images."""
    small = proxy.compress(network, ranks)
    images = torch.cat([x for x, _ in work.batches(0, count)])
    proxy.calibrate(small, [images], reference=network, level="reconstruction")
    with torch.no_grad():
        moved = small(images) - network(images)
    return float((moved - moved.mean(1, keepdim=True)).square().sum(1).mean())


def over_seeds(session, work, task, count=40):
    """The mean of the estimates, which have one vector for each of few images."""
    drawn = [task.model_copy(update={"seed": seed}) for seed in range(count)]
    tables = [estimate_sensitivity(session, one, work.files).change for one in drawn]
    return {name: torch.tensor([table[name] for table in tables]).mean(0).tolist() for name in task.choices}


def test_choices_are_ordered_as_the_changes_that_they_make(session, work):
    choices = {
        "first": [LayerRanks(method="cp3", rank=rank) for rank in (2, 6, 12)],
        "second": [LayerRanks(method="cp3", rank=rank) for rank in (2, 6, 12, 24)],
        "head": [LayerRanks(method="svd", rank=rank) for rank in (1, 3)],
    }
    found = over_seeds(session, work, work.sensitivity(choices=choices))
    wanted = {
        name: [plainly(work.net, work, {name: one.model_dump(by_alias=True, exclude_none=True)}) for one in some]
        for name, some in choices.items()
    }
    pairs = [(wanted[name][at], found[name][at]) for name in choices for at in range(len(choices[name]))]
    assert spearmanr(*zip(*pairs, strict=True)).statistic > 0.9
    for want, got in pairs:
        assert want / 3 < got < 3 * want  # to first order, of changes that are not small


class Residual(torch.nn.Module):
    """A block whose other path is a convolution of its own, with activations in place."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 12, 3, padding=1)
        self.one = torch.nn.Conv2d(12, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.two = torch.nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(16)
        self.side = torch.nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu_(self.stem(x))
        y = self.bn2(self.two(torch.relu_(self.bn1(self.one(x)))))
        y += self.side(x)
        return self.head(torch.relu_(y).mean((2, 3)))


@pytest.fixture
def residual(work):
    torch.manual_seed(1)
    network = Residual().eval()
    ranksearch.pack(network, (torch.randn(2, 3, 8, 8),), work.folder / "residual")
    return network


@pytest.mark.parametrize("name", ["stem", "one", "two", "side"])
def test_other_paths_and_changes_in_place_do_not_disturb_it(session, work, residual, name):
    choices = {name: [LayerRanks(method="cp3", rank=rank) for rank in (3, 24)]}
    task = work.sensitivity(choices=choices).model_copy(update={"model": work.blob("residual")})
    few, many = over_seeds(session, work, task)[name]
    wanted = plainly(residual, work, {name: {"method": "cp3", "rank": 3}})
    assert max(many, wanted / 3) < few < 3 * wanted  # to first order, of changes that are not small


def test_the_whole_table_is_that_of_its_cells(session, work, residual):
    names = ("stem", "one", "two", "side", "head")
    choices = {name: [LayerRanks(method="svd" if name == "head" else "cp3", rank=r) for r in (2, 4)] for name in names}
    task = work.sensitivity(choices=choices).model_copy(update={"model": work.blob("residual")})
    whole = estimate_sensitivity(session, task, work.files).change
    for name, tried in choices.items():
        alone = estimate_sensitivity(session, task.model_copy(update={"choices": {name: tried}}), work.files).change
        assert whole[name] == pytest.approx(alone[name], rel=1e-5)


def test_a_layer_that_stays_dense_does_not_diverge(session, work):
    task = work.sensitivity(choices={"second": [LayerRanks(method="dense"), LayerRanks(method="cp3", rank=4)]})
    dense, factorised = estimate_sensitivity(session, task, work.files).change["second"]
    assert dense == 0 < factorised


def test_the_dense_network_is_left_as_it_was(session, work):
    network = session.network(work.model, work.files[work.model.sha256])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    estimate_sensitivity(session, work.sensitivity(), work.files)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any("forward" in vars(module) or module._forward_hooks for module in network.modules())


def test_images_that_the_network_does_not_take_are_named_so(session, work):
    ranksearch.pack_data(work.images[..., :1], None, work.folder / "grey", mean=(0.5,), std=(1.0,))
    grey = work.selection(0, 10, work.blob("grey"))
    with pytest.raises(DatasetError):
        estimate_sensitivity(session, work.sensitivity(calibration=grey), work.files)


def test_an_unknown_layer_is_refused(session, work):
    with pytest.raises(proxy.UnknownLayer):
        estimate_sensitivity(
            session, work.sensitivity(choices={"third": [LayerRanks(method="cp3", rank=1)]}), work.files
        )
