"""The numerics on a GPU: what the CPU gives, but for round-off, and the same bits each time."""

import copy

import pytest
import torch

import proxy
from proxy.finetuning import FineTuning
from proxy.recipe import Recipe
from tests.proxy.conftest import seeded

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

METHODS = {
    "svd": ((48, 40), 9),
    "spatial_svd": ((32, 24, 3, 3), 20),
    "tucker2": ((32, 24, 3, 3), (12, 10)),
    "cp3": ((32, 24, 3, 3), 40),
    "tucker2_cp3": ((32, 24, 3, 3), (14, 12, 30)),
}
BY_METHOD = pytest.mark.parametrize("method", METHODS)
RANKS = {
    "conv1": {"method": "spatial_svd", "rank": 6},
    "conv2": {"method": "tucker2", "ranks": {"out": 8, "in": 8}},
    "conv3": {"method": "cp3", "rank": 14},
}


@pytest.fixture(autouse=True)
def exact_products():
    """As they are by default; said here, since TF32 would make every comparison one of three digits."""
    assert not torch.backends.cuda.matmul.allow_tf32
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def decomposed(method, device, dtype=torch.float32):
    shape, ranks = METHODS[method]
    return proxy.decompose(seeded(*shape, dtype=dtype).to(device), method, ranks)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def gpu(network):
    return copy.deepcopy(network).cuda()


@BY_METHOD
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factors_are_as_good_as_the_cpus_and_stay_on_the_gpu(method, dtype):
    here, there = decomposed(method, "cuda", dtype), decomposed(method, "cpu", dtype)
    assert all(tensor.is_cuda for tensor in here.tensors.values())
    assert here.relative_error == pytest.approx(there.relative_error, rel=1e-2)  # sweeps may end in another optimum


@BY_METHOD
def test_the_same_factors_each_time(method):
    assert same(decomposed(method, "cuda").tensors, decomposed(method, "cuda").tensors)


def test_a_weight_has_one_hash_wherever_it_is(small):
    assert proxy.weight_hashes(gpu(small)) == proxy.weight_hashes(small)


def test_many_are_decomposed_as_one_is():
    problems = [(seeded(32, 24, 3, 3, seed=seed).float(), "cp3", rank) for seed in range(3) for rank in (20, 30)]
    here = proxy.decompose_many(problems, device="cuda")
    for own, (weight, method, rank) in zip(here, problems, strict=True):
        alone = proxy.decompose(weight.cuda(), method, rank)
        assert own.relative_error == pytest.approx(alone.relative_error, rel=2e-3)


@pytest.mark.parametrize("method", ["spatial_svd", "tucker2", "cp3", "tucker2_cp3"])
def test_ladders_and_rules_choose_as_on_the_cpu(method):
    weight = seeded(32, 24, 3, 3, dtype=torch.float32)
    ranks = {"tucker2": [(4, 4), (12, 10)], "tucker2_cp3": [(8, 8, 12), (14, 12, 30)]}.get(method, [8, 20])
    here, there = (proxy.rank_ladder(one, method, ranks) for one in (weight.cuda(), weight))
    assert [own.relative_error for own in here] == pytest.approx([own.relative_error for own in there], rel=5e-3)
    if method in {"spatial_svd", "tucker2"}:
        assert proxy.vbmf_ranks(weight.cuda(), method) == proxy.vbmf_ranks(weight, method)
        assert proxy.energy_ranks(weight.cuda(), method) == proxy.energy_ranks(weight, method)


@pytest.mark.parametrize(("level", "sweeps"), [("statistics", 0), ("reconstruction", 0), ("reconstruction", 2)])
def test_a_calibrated_network_answers_as_the_cpus_does(small, images, level, sweeps):
    cut = proxy.compress(small, RANKS)
    on_gpu = gpu(cut)
    proxy.calibrate(cut, images, reference=small, level=level, sweeps=sweeps)
    proxy.calibrate(on_gpu, [batch.cuda() for batch in images], reference=gpu(small), level=level, sweeps=sweeps)
    with torch.no_grad():
        torch.testing.assert_close(on_gpu(images[0].cuda()).cpu(), cut(images[0]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("metric", ["accuracy", "loss", "kl", "features"])
def test_a_score_is_the_cpus(small, images, metric):
    cut = proxy.compress(small, RANKS)
    with torch.no_grad():
        batches = [(batch, small(batch).argmax(1)) for batch in images]
    moved = [(batch.cuda(), labels.cuda()) for batch, labels in batches]
    references = (small, gpu(small))
    if metric == "features":
        references = [proxy.feature_moments(one, some) for one, some in zip(references, (batches, moved), strict=True)]
    there = proxy.score(cut, batches, reference=references[0], metric=metric)
    here = proxy.score(gpu(cut), moved, reference=references[1], metric=metric)
    assert here.value == pytest.approx(there.value, rel=1e-3, abs=1e-6)
    if there.batch_means is not None:
        assert here.batch_means == pytest.approx(there.batch_means, rel=1e-3, abs=1e-6)


def test_the_distance_of_outputs_is_the_cpus(small, images):
    cut = proxy.compress(small, RANKS)
    there = proxy.output_distance(cut(images[0]), small(images[0]))
    here = proxy.output_distance(gpu(cut)(images[0].cuda()), gpu(small)(images[0].cuda()))
    torch.testing.assert_close(here.cpu(), there, rtol=1e-3, atol=1e-7)


def test_the_change_of_outputs_is_the_cpus(small, images):
    def changes(network, batches):
        cells = [((name, 0), factors) for name, factors in proxy.factorize(network, RANKS).items()]
        return dict(proxy.output_changes(network, cells, batches, seed=0))

    there = changes(small, images)
    assert changes(gpu(small), [batch.cuda() for batch in images]) == pytest.approx(there, rel=2e-2)


@pytest.mark.parametrize("at", [1, 7])
def test_a_training_taken_up_again_ends_with_the_same_weights(small, images, at):
    data = torch.cat(images), torch.arange(128) % 10
    recipe = Recipe(epochs=2, batch_size=16, augmentation="flip_crop")
    cut, dense = gpu(proxy.compress(small, RANKS)), gpu(small)

    def begun():
        return FineTuning(copy.deepcopy(cut), *data, reference=dense, recipe=recipe)

    whole, first, again = begun(), begun(), begun()
    list(whole.run())
    list(first.run(at))
    again.restore(first.state())
    list(again.run())
    assert again.done == whole.done == 16
    assert same(again.result().state_dict(), whole.result().state_dict())
