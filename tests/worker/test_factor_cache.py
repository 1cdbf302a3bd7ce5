import pytest
import torch

import proxy
from worker.factor_cache import DiskCache

CPU = torch.device("cpu")


@pytest.fixture
def factors():
    return proxy.decompose(torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0)), "cp3", {"rank": 5})


@pytest.fixture
def cache(tmp_path):
    return lambda **options: DiskCache(tmp_path / "factors", device=CPU, **options)


def test_another_process_finds_what_was_put(cache, factors):
    cache().put("ab12", factors)
    found = cache().get("ab12")
    torch.testing.assert_close(found.reconstruct(), factors.reconstruct())
    assert found.record() == factors.record()


def test_an_unknown_key_is_none(cache):
    assert cache().get("ab12") is None


def test_a_broken_file_counts_as_absent(cache, factors, tmp_path):
    cache().put("ab12", factors)
    path = next((tmp_path / "factors").rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-10])
    assert cache().get("ab12") is None


def test_a_broken_file_is_replaced(cache, factors, tmp_path):
    path = tmp_path / "factors" / "ab" / "ab12.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no factors")
    cache().put("ab12", factors)
    assert cache().get("ab12") is not None


def test_no_part_of_a_file_stays_behind(cache, factors, tmp_path):
    cache().put("ab12", factors)
    assert [path.name for path in (tmp_path / "factors").rglob("*") if path.is_file()] == ["ab12.safetensors"]


def test_memory_is_bounded_and_the_disk_still_has_the_rest(cache, factors):
    size = sum(tensor.nbytes for tensor in factors.tensors.values())
    small = cache(memory=2 * size)
    for key in ("aa", "bb", "cc", "dd"):
        small.put(key, factors)
    assert len(small._recent) == 2
    assert small.get("aa") is not None


def test_a_disk_without_room_costs_no_trial(cache, factors, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.factor_cache.save_file", full)
    kept = cache()
    kept.put("ab12", factors)
    assert kept.get("ab12") is factors
