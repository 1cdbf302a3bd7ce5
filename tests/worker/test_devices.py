import subprocess
import sys

import psutil
import pytest
import torch

from ranksearch.contracts.errors import InputError, UnavailableError
from worker.devices import find_devices


def test_the_cpu_has_the_machines_memory_or_less():
    (device,) = find_devices("cpu")
    assert device.name == "cpu"
    assert 0 < device.memory_bytes <= psutil.virtual_memory().total


def test_a_device_named_several_times_is_several_workers():
    assert [device.name for device in find_devices("cpu, cpu")] == ["cpu", "cpu"]


def test_every_gpu_or_else_the_cpu():
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    assert [device.name for device in find_devices("auto")] == (gpus or ["cpu"])


def test_the_best_is_one():
    assert len(find_devices("best")) == 1


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(InputError) as refused:
        find_devices("cpu,cuda:99")
    assert "cuda:99" in refused.value.detail
    assert "cpu" in refused.value.expected


@pytest.mark.parametrize("wanted", ["", " , "])
def test_no_device_at_all(wanted):
    with pytest.raises(InputError):
        find_devices(wanted)


def test_without_torch_it_says_what_to_do(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    with pytest.raises(UnavailableError, match="no torch here") as refused:
        find_devices("auto")
    assert "ranksearch[worker]" in refused.value.mend


def test_the_agent_does_not_import_torch():
    code = "import sys, worker.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_its_own_memory():
    (device,) = find_devices("cuda:0")
    assert device.memory_bytes == torch.cuda.get_device_properties(0).total_memory
