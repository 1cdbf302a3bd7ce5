import pytest
import torch

from ranksearch.documents import load, pack
from tests.ranksearch.documents.networks import Forked, randomised


@pytest.fixture(autouse=True)
def two_threads():
    torch.set_num_threads(2)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def forked():
    torch.manual_seed(0)
    return randomised(Forked())


@pytest.fixture(scope="session")
def forked_document(forked, tmp_path_factory):
    return pack(forked, torch.randn(2, 3, 12, 12), tmp_path_factory.mktemp("documents") / "forked.safetensors")


@pytest.fixture
def reloaded(forked_document):
    return load(forked_document)
