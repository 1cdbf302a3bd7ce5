import subprocess
import sys

import pytest

from worker.allocator import keep_freed_memory

FAULTS = """
import resource, sys
from worker.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import torch
torch.set_num_threads(1)
x = torch.zeros(4 << 20)
activations = [x + 1 for _ in range(8)]
del activations
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    activations = [x + 1 for _ in range(8)]
    del activations
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how):
    answer = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(answer.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="tunes glibc")
def test_freed_memory_is_used_again_without_page_faults():
    assert page_faults("kept") < page_faults("given back") / 2


def test_is_harmless_when_called_twice():
    keep_freed_memory()
    keep_freed_memory()
