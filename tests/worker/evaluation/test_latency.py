import time

import pytest
import torch

from worker.evaluation.latency import measure_latency, one_image


class Waits(torch.nn.Module):
    """A network that takes a known time at least."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.seen = []

    def forward(self, x):
        self.seen.append((tuple(x.shape), torch.is_inference_mode_enabled()))
        time.sleep(self.seconds)
        return x


@pytest.fixture
def image():
    return torch.zeros(1, 3, 4, 4)


def test_it_is_the_time_of_a_pass(image):
    found = measure_latency(Waits(0.004), (image,), device_name="here", dense=Waits(0.012), seconds=0.3)
    assert 4 <= found.latency_ms < found.dense_latency_ms
    assert found.dense_latency_ms >= 12


def test_it_says_under_which_conditions(image):
    found = measure_latency(Waits(0), (image.double(),), device_name="here", seconds=0.01)
    assert (found.device, found.dtype, found.batch, found.backend) == ("here", "float64", 1, "torch")
    assert found.dense_latency_ms is None


def test_a_pass_is_one_image_in_inference_mode(image):
    network = Waits(0)
    measure_latency(network, (image,), device_name="here", seconds=0.01)
    assert set(network.seen) == {((1, 3, 4, 4), True)}


def test_slow_networks_are_timed_at_least_once(image):
    network = Waits(0.05)
    assert measure_latency(network, (image,), device_name="here", seconds=0.001).latency_ms >= 50
    assert len(network.seen) == 2  # a warm-up and a measurement


def test_an_image_is_laid_out_as_the_batches_are():
    batch = torch.zeros(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    image = one_image(batch)
    assert image.shape == (1, 3, 5, 5)
    assert image.is_contiguous(memory_format=torch.channels_last)
