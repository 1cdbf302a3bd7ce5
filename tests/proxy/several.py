"""Networks of several inputs and outputs, and the same computed from one tensor: what the one gives, the other must."""

import torch
from torch import nn


class TwoInputs(nn.Module):
    """A colour and a depth image; the depth is also added to what a layer makes of it."""

    def __init__(self):
        super().__init__()
        self.colour = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.depth = nn.Conv2d(4, 4, 3, padding=1)
        self.mix = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, 6)

    def forward(self, colour, depth):
        seen = torch.relu(self.norm(self.colour(colour)))
        far = torch.relu(self.depth(depth) + depth)
        return self.fc(torch.relu(self.mix(torch.cat([seen, far], 1))).mean((2, 3)))


class OneInput(nn.Module):
    """As :class:`TwoInputs`, the images as seven channels of one tensor."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, both):
        return self.network(both[:, :3], both[:, 3:])


class Heads(nn.Module):
    """Class scores, a box and a map of scores, in a structure of dicts, lists and tuples."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 16, 3, padding=1)
        self.classes = nn.Linear(16, 5)
        self.box = nn.Linear(16, 4)
        self.map = nn.Conv2d(16, 3, 1)

    def forward(self, image):
        seen = torch.relu(self.body(image))
        pooled = seen.mean((2, 3))
        return {"classes": self.classes(pooled), "more": [self.box(pooled), (self.map(seen), None)]}


def fitted(network, *shapes):
    """In eval mode, its BatchNorm statistics those of normal inputs."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        for _ in range(20):
            network(*(torch.randn(16, *shape) for shape in shapes))
    return network.eval()
