"""The numbers of system calls against the kernel's own headers."""

import re
from pathlib import Path

import pytest

from worker.sandbox.system_calls import ARCHITECTURES, CONDITIONAL, CONVERSING, REFUSED

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
NEWEST = 450  # headers of Linux 6.1 end here


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_numbers_are_the_kernels(machine):
    if not HEADERS[machine].exists():
        pytest.skip(f"the kernel's headers are not installed: {HEADERS[machine]}")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text("utf-8"))
    known = {name: int(number) for name, number in found}
    _, column = ARCHITECTURES[machine]
    ours = {name: numbers[column] for name, numbers in {**CONDITIONAL, **CONVERSING, **REFUSED}.items()}
    for name, number in ours.items():
        if number is None:
            assert name not in known, f"{name} exists on {machine}"
        elif name in known or number <= NEWEST:
            assert known[name] == number, name


def test_no_call_is_both_refused_and_conditional():
    assert not CONDITIONAL.keys() & {**CONVERSING, **REFUSED}.keys()
