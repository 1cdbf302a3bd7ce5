"""A session on tiny documents, as the child has it."""

import copy
import hashlib

import pytest
import torch

import proxy
import ranksearch
from ranksearch.contracts.finetuning import RecipeRequest
from ranksearch.contracts.jobs import (
    BaselineTask,
    CompressTask,
    DataSelection,
    ExportTask,
    FineTuneTask,
    InspectTask,
    SensitivityTask,
    TrialTask,
)
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.resources import Blob
from worker.evaluation.session import Session


class Net(torch.nn.Module):
    """A convolution with BatchNorm, one without, and a classifier."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(12)
        self.second = torch.nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.bn(self.first(x)))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Work:
    """Documents in a folder, and tasks on them.

    Attributes:
        device: on which what a test expects is computed: a GPU's decompositions are as good as a CPU's, not the same.
    """

    device = torch.device("cpu")

    def __init__(self, folder):
        self.folder = folder
        self.files = {}
        torch.manual_seed(0)
        self.net = Net().eval()
        self.images = torch.randint(0, 256, (60, 8, 8, 3), dtype=torch.uint8)
        self.labels = torch.arange(60) % 5
        ranksearch.pack(self.net, (torch.randn(2, 3, 8, 8),), folder / "model")
        ranksearch.pack_data(self.images, self.labels, folder / "data", mean=(0.5,) * 3, std=(0.25,) * 3)
        self.model = self.blob("model")
        self.data = self.blob("data")
        self.ranks = {
            "second": LayerRanks(method="cp3", rank=9),
            "first": LayerRanks(method="cp3", rank=6),
        }

    def blob(self, name):
        content = (self.folder / name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        self.files[sha256] = self.folder / name
        return Blob(sha256=sha256, size=len(content))

    def selection(self, start, stop, blob=None):
        return DataSelection(blob=blob or self.data, start=start, stop=stop)

    def inspect(self):
        return InspectTask(model=self.model)

    def baseline(self, **changes):
        given = {"validation": self.selection(20, 60), "metric": "accuracy", "batch_size": 16}
        return BaselineTask(model=self.model, **{**given, **changes})

    def trial(self, **changes):
        given = {
            "ranks": self.ranks,
            "calibration": self.selection(0, 20),
            "validation": self.selection(20, 60),
            "metric": "accuracy",
            "batch_size": 16,
            "seed": 0,
        }
        return TrialTask(model=self.model, **{**given, **changes})

    def compress(self, **changes):
        given = {
            "ranks": self.ranks,
            "calibration": self.selection(0, 20),
            "validation": self.selection(20, 60),
            "batch_size": 16,
            "seed": 0,
        }
        return CompressTask(model=self.model, **{**given, **changes})

    def export(self, document, made, **changes):
        """Of a document that was made before, a file."""
        content = document.read_bytes()
        blob = Blob(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        self.files[blob.sha256] = document
        given = {"format": made, "validation": self.selection(20, 60), "batch_size": 16}
        return ExportTask(model=blob, **{**given, **changes})

    def finetune(self, document, **changes):
        """Of a document that was made before."""
        task = self.export(document, "onnx")
        recipe = RecipeRequest(epochs=5, batch_size=8, augmentation="none").completed(20, labelled=True)
        given = {
            "document": task.model,
            "training": self.selection(0, 20),
            "validation": self.selection(20, 60),
            "recipe": recipe,
            "batch_size": 16,
            "checkpoint_seconds": 0,
        }
        return FineTuneTask(model=self.model, **{**given, **changes})

    def sensitivity(self, **changes):
        given = {
            "choices": {
                "second": [LayerRanks(method="cp3", rank=rank) for rank in (4, 9)],
                "head": [LayerRanks(method="svd", rank=2)],
            },
            "calibration": self.selection(0, 20),
            "batch_size": 16,
            "seed": 0,
        }
        return SensitivityTask(model=self.model, **{**given, **changes})

    def batches(self, start, stop, size=16):
        """Normalised by hand, not by the code under test."""
        images = (self.images[start:stop].permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
        return list(zip(images.split(size), self.labels[start:stop].split(size), strict=True))

    def compressed(self, level="reconstruction", sweeps=0):
        """What a trial should have measured."""
        ranks = {name: {"method": choice.method, "rank": choice.rank} for name, choice in self.ranks.items()}
        dense = copy.deepcopy(self.net).to(self.device)
        small = proxy.compress(dense, ranks)
        images = [images.to(self.device) for images, _ in self.batches(0, 20)]
        proxy.calibrate(small, images, reference=dense, level=level, sweeps=sweeps)
        return small.cpu()


@pytest.fixture
def work(tmp_path):
    return Work(tmp_path)


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def session(tmp_path, request):
    """On every kind of device that this machine has."""
    made = Session(device=request.param, cache_dir=tmp_path / "factors")
    if "work" in request.fixturenames:
        request.getfixturevalue("work").device = made.device
    return made
