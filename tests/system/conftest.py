"""A real service and real workers on this machine, and a network small enough to search in seconds."""

import re
from pathlib import Path

import pytest
import torch

import ranksearch
from ranksearch.demo.network import Block, load_digits, train
from ranksearch.local import LocalDeployment

ROOT = Path(__file__).parents[2]
DEVICE = "best" if torch.cuda.is_available() else "cpu"
"""Without a GPU each worker need not ask torch for one, which takes seconds."""


class TinyNet(torch.nn.Module):
    """Layers of two sizes, one of them with no BatchNorm after it."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(16)
        self.block = Block(16)
        self.down = torch.nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = torch.nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.down(self.block(torch.relu(self.bn(self.stem(x))))).mean((2, 3)))


@pytest.fixture(scope="session")
def digits():
    return load_digits()


@pytest.fixture(scope="session")
def documents(tmp_path_factory, digits):
    """A folder with ``model.safetensors`` and ``data.safetensors``."""
    return written(tmp_path_factory.mktemp("documents"), digits, epochs=1)


def written(folder, digits, epochs):
    """The tiny network, trained for so many epochs, and its images."""
    torch.manual_seed(0)
    net = train(digits, epochs=epochs, network=TinyNet())
    ranksearch.pack(net, (digits.normalised(digits.training[0][:2]),), folder / "model.safetensors")
    ranksearch.pack_data(*digits.training, folder / "data.safetensors", mean=digits.mean, std=digits.std, layout="NHWC")
    return folder


@pytest.fixture(scope="session")
def deployment(tmp_path_factory):
    """A service with one worker, shared by the tests that do not break it."""
    with LocalDeployment(tmp_path_factory.mktemp("deployment") / "data", workers=1, device=DEVICE) as local:
        yield local


@pytest.fixture
def lease_seconds():
    """Short enough to wait for its end, and long enough for a worker on a busy machine to renew it."""
    return 4


@pytest.fixture
def local(tmp_path, lease_seconds):
    """A service of the test's own, with short leases and no worker yet: something to break."""
    options = ("--lease-seconds", str(lease_seconds))
    with LocalDeployment(tmp_path / "data", workers=0, device=DEVICE, service_options=options) as made:
        yield made


@pytest.fixture
def client(deployment):
    with deployment.client() as made:
        yield made


@pytest.fixture
def submit(documents):
    """Submit the tiny network to a client's service."""

    def submit(client, **options):
        given = {"budget": "40%", "n_trials": 4, **options}
        return client.submit(documents / "model.safetensors", documents / "data.safetensors", **given)

    return submit


@pytest.fixture
def readme_examples():
    """The Python examples of the README, in order."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
