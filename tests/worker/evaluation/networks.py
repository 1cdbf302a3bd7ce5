"""Networks that are no classifiers of one image, and what is packed for them."""

import hashlib

import torch
from torch import nn

import ranksearch
from ranksearch.contracts.jobs import (
    BaselineTask,
    CompressTask,
    DataSelection,
    ExportTask,
    InspectTask,
    SensitivityTask,
    TrialTask,
)
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.resources import Blob


class Fused(nn.Module):
    """A colour image, a depth image and two speeds in; a map of scores, a box and which score is the largest out.

    Its attention, its normalisation and its table of positions are free of convolutions.
    """

    def __init__(self):
        super().__init__()
        self.colour = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.depth = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.mix = nn.Conv2d(20, 16, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.randn(1, 16, 16))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.map = nn.Conv2d(16, 3, 1)
        self.box = nn.Linear(16 + 2, 4)

    def forward(self, colour, depth, speed):
        seen = torch.relu(self.mix(torch.cat([self.colour(colour), self.depth(depth)], 1)))
        tokens = seen.flatten(2).transpose(1, 2) + self.positions
        tokens = self.norm(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        scores = self.map(tokens.transpose(1, 2).reshape(seen.shape))
        box = self.box(torch.cat([tokens.mean(1), speed], 1))
        return {"scores": scores, "more": [box, {"best": scores.argmax(1)}]}


RANKS = {"colour.0": LayerRanks(method="cp3", rank=8), "mix": LayerRanks(method="cp3", rank=12)}
STATISTICS = {
    "mean": {"colour": (0.5,) * 3, "depth": 0.4},
    "std": {"colour": (0.25,) * 3, "depth": 0.2},
}
CHOICES = {"mix": [LayerRanks(method="cp3", rank=rank) for rank in (4, 12)]}


class FusedWork:
    """Documents of :class:`Fused` in a folder, and tasks on them; the data set's inputs are in another order."""

    device = torch.device("cpu")

    def __init__(self, folder):
        self.folder = folder
        self.files = {}
        torch.manual_seed(0)
        self.net = Fused().eval()
        example = (torch.randn(2, 3, 8, 8), torch.randn(2, 1, 8, 8), torch.randn(2, 2))
        ranksearch.pack(self.net, example, folder / "model")
        self.inputs = {
            "speed": torch.randn(40, 2),
            "colour": torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8),
            "depth": torch.rand(40, 8, 8),
        }
        ranksearch.pack_data(self.inputs, None, folder / "data", **STATISTICS)
        self.model, self.data = self.blob(folder / "model"), self.blob(folder / "data")

    def blob(self, path):
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        self.files[sha256] = path
        return Blob(sha256=sha256, size=len(content))

    def batch(self, start, stop):
        """The network's arguments, normalised by hand."""
        colour, depth = self.inputs["colour"][start:stop], self.inputs["depth"][start:stop]
        return (
            (colour.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25,
            (depth.unsqueeze(1) - 0.4) / 0.2,
            self.inputs["speed"][start:stop],
        )

    def batches(self, start, stop, size=8):
        return [(self.batch(at, min(at + size, stop)), None) for at in range(start, stop, size)]

    def task(self, kind, **changes):
        slices = {"calibration": self.part(0, 16), "validation": self.part(16, 40)}
        given = {**slices, "metric": "outputs", "ranks": RANKS, "choices": CHOICES, "level": "reconstruction"}
        given |= {"model": self.model, "batch_size": 8, "seed": 0, **changes}
        made = {
            "inspect": InspectTask, "baseline": BaselineTask, "trial": TrialTask, "compress": CompressTask,
            "export": ExportTask, "sensitivity": SensitivityTask,
        }[kind]  # fmt: skip
        return made(**{name: value for name, value in given.items() if name in made.model_fields})

    def part(self, start, stop):
        return DataSelection(blob=self.data, start=start, stop=stop)
