"""Small kernels and networks for the numerics' tests, and the real ones where they are at hand."""

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

SHARED = Path(os.environ.get("RANKSEARCH_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

WAYS = [("svd", "epc"), ("spatial_svd", "epc")] + [
    (method, solver) for method in ("tucker2", "cp3", "tucker2_cp3") for solver in ("epc", "als", "tensorly")
]
"""(method, solver): all there are; the matrix methods are exact whatever the solver is called."""


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors: a second thread only waits at barriers when the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def cp_tensor(out, inn, space, rank, seed=0):
    """A kernel (out, inn, space) of exact CP rank ``rank``."""
    a, b, c = seeded(out, rank, seed=seed), seeded(inn, rank, seed=seed + 1), seeded(space, rank, seed=seed + 2)
    return torch.einsum("tr,sr,dr->tsd", a, b, c)


class Small(nn.Module):
    """Two convolutions with BatchNorm, one without, a linear layer: every case of calibration, in milliseconds."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.relu(self.conv3(x))
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def small():
    """A network whose BatchNorm statistics fit its features."""
    torch.manual_seed(0)
    model = Small()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(32, 3, 12, 12))
    return model.eval()


@pytest.fixture
def images():
    return [seeded(32, 3, 12, 12, seed=seed, dtype=torch.float32) for seed in range(4)]


@pytest.fixture(scope="session")
def cifar():
    """The shared loader module of CIFAR networks and images."""
    if not (SHARED / "cifar.py").is_file():
        pytest.skip(f"no real weights and images at {SHARED}")
    sys.path.insert(0, str(SHARED))
    try:
        import cifar  # noqa: PLC0415 - lies in the shared folder, found at run time
    finally:
        sys.path.remove(str(SHARED))
    return cifar


@pytest.fixture(scope="session")
def real_kernel(cifar):
    """layer3.4.conv1 of ResNet-56: 64 × 64 × 3 × 3."""
    return cifar.resnet(56).layer3[4].conv1.weight.detach()
