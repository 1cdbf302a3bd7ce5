import copy
import pickle

import pytest
import torch
from torch import nn

from ranksearch.documents import load, pack
from tests.ranksearch.documents.networks import assert_same_outputs

IMAGES = torch.randn(3, 3, 12, 12)


def test_it_starts_in_eval_mode(reloaded):
    assert not any(module.training for module in reloaded.modules())


def test_a_copy_gives_the_same_outputs(reloaded):
    assert_same_outputs(reloaded, copy.deepcopy(reloaded), IMAGES)


def test_a_copy_owns_its_weights(reloaded):
    copied = copy.deepcopy(reloaded)
    with torch.no_grad():
        copied.head.weight.zero_()
    assert reloaded.head.weight.abs().max() > 0


def test_it_travels_to_another_process(reloaded):
    assert_same_outputs(reloaded, pickle.loads(pickle.dumps(reloaded)), IMAGES)  # noqa: S301 - this test's own bytes


def test_it_changes_dtype_like_any_module(reloaded, forked):
    wide = copy.deepcopy(reloaded).double()
    assert_same_outputs(copy.deepcopy(forked).double(), wide, IMAGES.double(), tolerance=1e-12)


def test_gradients_reach_every_parameter(reloaded):
    reloaded(IMAGES).sum().backward()
    assert all(parameter.grad is not None for parameter in reloaded.parameters())


def test_hooks_see_what_the_original_s_hooks_see(reloaded, forked):
    seen = []
    for network in (forked, reloaded):
        handle = network.get_submodule("left").register_forward_hook(lambda _, i, o: seen.append(o))
        assert_same_outputs(network, network, IMAGES)
        handle.remove()
    plain = nn.functional.relu(seen[2])
    assert torch.equal(nn.functional.relu(seen[0]), plain)


def test_a_hooked_result_is_not_written_to_afterwards(reloaded):
    seen = []
    reloaded.left.register_forward_hook(lambda _, i, o: seen.append((o, o.clone())))
    reloaded(IMAGES)
    assert torch.equal(*seen[0])


def test_results_are_let_go_after_their_last_use(reloaded):
    alive = []

    def remember(_, inputs, output):
        alive.append(output.untyped_storage()._weak_ref())

    with torch.no_grad():
        reloaded.stem.get_submodule("0").register_forward_hook(remember)

        def check(_, inputs, output):
            assert torch.UntypedStorage._new_with_weak_ptr(alive[0]) is None

        reloaded.head.register_forward_hook(check)
        reloaded(IMAGES)


def test_an_exchanged_module_is_what_runs(reloaded):
    with torch.no_grad():
        before = reloaded(IMAGES)
        reloaded.head = nn.Linear(6 * 4 * 4, 2)
        assert reloaded(IMAGES).shape == (3, 2)
    assert before.shape == (3, 5)


def test_it_can_be_packed_again(reloaded, forked, tmp_path):
    assert_same_outputs(forked, load(pack(reloaded, IMAGES, tmp_path / "m.safetensors")), IMAGES)


def test_a_factorised_network_can_be_packed_again(reloaded, tmp_path):
    original = reloaded.get_submodule("stem.0")
    first = nn.Conv2d(3, 2, 1, bias=False)
    second = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    third = nn.Conv2d(2, 8, 1, bias=original.bias is not None)
    reloaded.get_submodule("stem").add_module("0", nn.Sequential(first, second, third))
    again = load(pack(reloaded.eval(), IMAGES, tmp_path / "m.safetensors"))
    assert_same_outputs(reloaded, again, IMAGES)
    assert isinstance(again.get_submodule("stem.0.1"), nn.Conv2d)


def test_example_inputs_fit(reloaded):
    assert reloaded(*reloaded.example_inputs(4)).shape == (4, 5)


def test_example_inputs_are_the_same_for_a_seed(reloaded):
    assert torch.equal(reloaded.example_inputs(seed=3)[0], reloaded.example_inputs(seed=3)[0])


def test_a_wrong_number_of_inputs_is_said(reloaded):
    with pytest.raises(TypeError, match="takes 1 inputs, got 2"):
        reloaded(IMAGES, IMAGES)


def test_printing_shows_the_inputs(reloaded):
    assert "float32['batch', 3, 12, 12]" in repr(reloaded)
