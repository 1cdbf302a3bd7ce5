"""A view in a trace, of tensors that are laid out otherwise than when they were traced."""

import pytest
import torch
from torch import nn

from ranksearch.documents import load, pack

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Viewed(nn.Module):
    """What many tutorials end a convolutional network with."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 64, 5)

    def forward(self, x):
        x = self.body(x)
        return self.head(x.view(x.size(0), -1))


class ViewedOfViewed(Viewed):
    def forward(self, x):
        x = self.body(x)
        return self.head(x.view(x.size(0), 4, -1).transpose(1, 2).transpose(1, 2).view(x.size(0), -1))


class WritesThroughTheView(Viewed):
    def forward(self, x):
        x = self.body(x)
        x.view(x.size(0), -1)[:, :7] = 0
        return x.mean((2, 3))


class WritesBehindTheView(Viewed):
    def forward(self, x):
        x = self.body(x)
        seen = x.view(x.size(0), -1)
        x[:, 0] = 0
        return self.head(seen)


def reloaded(network, folder):
    torch.manual_seed(0)
    return load(pack(network.eval(), torch.randn(2, 3, 8, 8), folder / "model.safetensors"))


@pytest.mark.parametrize("kind", [Viewed, ViewedOfViewed])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_of_the_images_does_not_matter(tmp_path, kind, layout):
    network = kind()
    torch.testing.assert_close(reloaded(network, tmp_path)(IMAGES.contiguous(memory_format=layout)), network(IMAGES))


@pytest.mark.parametrize("kind", [WritesThroughTheView, WritesBehindTheView])
def test_what_is_written_is_seen_through_a_view(tmp_path, kind):
    network = kind()
    torch.testing.assert_close(reloaded(network, tmp_path)(IMAGES), network(IMAGES))


@pytest.mark.parametrize("kind", [WritesThroughTheView, WritesBehindTheView])
def test_there_no_copy_takes_its_place(tmp_path, kind):
    """Wrong numbers would be worse than none."""
    network = reloaded(kind(), tmp_path)
    with pytest.raises(RuntimeError, match="view"):
        network(IMAGES.contiguous(memory_format=torch.channels_last))


def test_gradients_flow_through_a_copy_as_well(tmp_path):
    network = reloaded(Viewed(), tmp_path)
    network(IMAGES.contiguous(memory_format=torch.channels_last)).sum().backward()
    assert network.body.weight.grad.abs().max() > 0
