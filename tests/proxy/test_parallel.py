import threading

import pytest
import torch

from proxy.parallel import in_parallel, single_threaded


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)  # the folder's fixture puts one back


def test_pieces_run_side_by_side_on_one_thread_each(two_threads):
    meeting = threading.Barrier(2, timeout=10)
    seen = []

    def piece():
        meeting.wait()  # passes only if both are under way
        seen.append((torch.get_num_threads(), torch.is_grad_enabled()))

    with torch.no_grad():
        in_parallel([piece, piece])
    assert seen == [(1, False), (1, False)]
    assert torch.get_num_threads() == 2


def test_an_error_is_raised_and_the_thread_count_restored(two_threads):
    def broken():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_parallel([broken, lambda: None])
    assert torch.get_num_threads() == 2


def test_single_threaded_inside_only(two_threads):
    with single_threaded():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_after_an_error_nothing_more_is_begun(two_threads):
    begun = []

    def broken():
        raise ValueError("no")

    def slow():
        begun.append(1)
        threading.Event().wait(0.1)

    with pytest.raises(ValueError, match="no"):
        in_parallel([broken, *[slow] * 40])
    assert len(begun) < 40
