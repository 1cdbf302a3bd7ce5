"""Small networks for these tests, and what to compare them by."""

import torch
from torch import nn
from torch.nn import functional

LAYERS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.modules.batchnorm._BatchNorm,
)


class Forked(nn.Module):
    """A residual sum, a concatenation, an in-place activation and a reshape by the batch."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.left = nn.Conv2d(8, 8, 3, padding="same", groups=2)
        self.right = nn.Conv2d(8, 4, (1, 3), stride=1, padding=(0, 1), dilation=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(12, 6, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.scale = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.register_buffer("shift", torch.randn(6, 1, 1), persistent=False)
        self.head = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([functional.relu_(self.left(x)) + x, self.right(x)], dim=1)
        x = self.norm(self.up(x)) * self.scale + self.shift
        x = functional.dropout(functional.adaptive_avg_pool2d(x, 4), training=self.training)
        return self.head(x.view(x.size(0), -1))


def randomised(network, seed=0):
    """In eval mode, with statistics and affine terms that a forgotten BatchNorm would show."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
    return network.eval()


def layer_names(network):
    return {name for name, module in network.named_modules() if isinstance(module, LAYERS)}


def assert_same_outputs(one, other, *inputs, tolerance=1e-5):
    with torch.no_grad():
        expected = one(*(tensor.clone() for tensor in inputs))
        got = other(*(tensor.clone() for tensor in inputs))
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) <= tolerance * max(1.0, float(expected.abs().max()))
