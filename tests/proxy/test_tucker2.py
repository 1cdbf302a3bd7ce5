import pytest
import tensorly as tl
import torch
from tensorly.decomposition import partial_tucker

import proxy
from proxy.kernel import Kernel
from proxy.tucker2 import captured_energies
from tests.proxy.conftest import seeded


@pytest.mark.parametrize("ranks", [(3, 2), (6, 5), (10, 1)])
def test_the_error_is_as_low_as_tensorlys(ranks):
    tensor = seeded(12, 10, 3, 3)
    with tl.backend_context("numpy"):
        (core, _), _ = partial_tucker(
            tensor.flatten(2).numpy(), rank=list(ranks), modes=[0, 1], n_iter_max=300, tol=1e-12
        )
        theirs = float((1 - (core**2).sum() / float(tensor.square().sum())) ** 0.5)
    found = proxy.decompose(tensor, "tucker2", ranks, max_sweeps=300, tolerance=1e-12)
    assert found.relative_error == pytest.approx(theirs, rel=1e-3)


def test_the_error_told_is_the_error():
    tensor = seeded(12, 10, 3, 3)
    found = proxy.decompose(tensor, "tucker2", (6, 5))
    assert found.relative_error == pytest.approx(float((found.reconstruct() - tensor).norm() / tensor.norm()))


def test_full_ranks_are_exact():
    tensor = seeded(7, 6, 3, 3)
    torch.testing.assert_close(proxy.decompose(tensor, "tucker2", (7, 6)).reconstruct(), tensor)


def test_captured_energies_are_those_of_the_truncated_hosvd():
    kernel = Kernel(seeded(7, 6, 9))
    out, inn = (basis[:, :3] for basis in kernel.channel_bases)
    core = torch.einsum("tsd,ta,sb->abd", kernel.tensor, out, inn)
    assert float(captured_energies(kernel)[2, 2]) == pytest.approx(float(core.square().sum()))
