import pytest
import torch

import proxy
import ranksearch
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.sensitivity import estimate_sensitivity
from worker.evaluation.session import Session
from worker.evaluation.trial import measure_trial
from worker.factor_files import factor_path


class Fleet:
    """What others have computed, and what was asked of it."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = []
        self.content = {}

    def fetch(self, keys):
        self.asked.append(list(keys))
        for key in keys:
            if key in self.content:
                path = factor_path(self.folder, key)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.content[key])


@pytest.fixture
def fleet(tmp_path, session, monkeypatch):
    """Asked by the session, for every layer of the tiny network with 1,000 numbers or more: ``second`` alone."""
    monkeypatch.setattr("worker.evaluation.shared_factors._NUMBERS", 1000)
    made = Fleet(tmp_path / "factors")
    session.factors.fetch = made.fetch
    return made


def key_of(work, name, rank, method="cp3"):
    weight = work.net.get_submodule(name).weight
    return proxy.factor_key(weight, method, {"rank": rank}, solver="epc")


def test_a_trial_asks_once_for_what_is_large_and_not_here(session, work, fleet):
    measure_trial(session, work.trial(), work.files)
    measure_trial(session, work.trial(), work.files)
    assert fleet.asked == [[key_of(work, "second", 9)]]


def test_what_a_trial_used_is_offered_even_if_it_was_here(session, work, fleet):
    measure_trial(session, work.trial(), work.files)
    assert session.used == [key_of(work, "second", 9)]
    session.used.clear()
    measure_trial(session, work.trial(), work.files)
    assert session.used == [key_of(work, "second", 9)]


def test_a_sensitivity_table_asks_for_all_its_choices_at_once(session, work, fleet):
    estimate_sensitivity(session, work.sensitivity(), work.files)
    assert fleet.asked == [[key_of(work, "second", rank) for rank in (4, 9)]]


def test_what_the_fleet_has_is_not_decomposed_again_and_gives_the_same(session, work, fleet, tmp_path, monkeypatch):
    whole = measure_trial(session, work.trial(metric="kl"), work.files).result
    elsewhere = Fleet(tmp_path / "elsewhere")
    key = key_of(work, "second", 9)
    elsewhere.content[key] = factor_path(tmp_path / "factors", key).read_bytes()
    other = Session(device=str(session.device), cache_dir=elsewhere.folder)
    other.factors.fetch = elsewhere.fetch
    decomposed = []
    real = proxy.assembly.decompose_many
    monkeypatch.setattr(
        "proxy.assembly.decompose_many", lambda problems, **o: decomposed.extend(problems) or real(problems, **o)
    )
    result = measure_trial(other, work.trial(metric="kl"), work.files).result
    assert [tuple(problem.weight.shape) for problem in decomposed] == [(12, 3, 3, 3)]
    assert result.value == pytest.approx(whole.value, rel=1e-5)


def test_small_and_dense_layers_are_not_asked_for(session, work, fleet):
    ranks = {"first": LayerRanks(method="cp3", rank=6), "second": LayerRanks(method="dense")}
    measure_trial(session, work.trial(ranks=ranks), work.files)
    assert fleet.asked == []
    assert session.used == []


def test_ranks_that_cannot_be_are_refused_as_before(session, work, fleet):
    for ranks in ({"nowhere": LayerRanks(method="cp3", rank=3)}, {"second": LayerRanks(method="cp3", rank=10**6)}):
        with pytest.raises(proxy.ProxyError):
            measure_trial(session, work.trial(ranks=ranks), work.files)


def test_an_inspection_asks_for_nothing_and_offers_nothing(session, work, fleet):
    from worker.evaluation.profile import inspect  # noqa: PLC0415 - of this test alone

    inspect(session, work.inspect(), work.files)
    assert fleet.asked == []
    assert session.used == []


def test_a_grouped_layers_key_is_that_of_the_decomposition(session, work, fleet):
    class Grouped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 24, 3, bias=False)
            self.grouped = torch.nn.Conv2d(24, 48, 3, groups=2)

        def forward(self, x):
            return self.grouped(self.conv(x)).mean((2, 3))

    torch.manual_seed(0)
    ranksearch.pack(Grouped().eval(), (torch.randn(2, 3, 8, 8),), work.folder / "grouped")
    task = work.trial(ranks={"grouped": LayerRanks(method="cp3", rank=5)}, metric="kl")
    task = task.model_copy(update={"model": work.blob("grouped")})
    measure_trial(session, task, work.files)
    ((key,),) = fleet.asked
    assert factor_path(fleet.folder, key).is_file()
