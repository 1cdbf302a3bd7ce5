import argparse
from pathlib import Path

import pytest

from worker.sandbox import SandboxOptions, add_sandbox_arguments, sandbox_options


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_sandbox_arguments(parser)
    return sandbox_options(parser.parse_args(arguments))


def test_without_options_the_child_is_confined_as_far_as_the_kernel_allows():
    assert parsed() == SandboxOptions(enabled=True, required=False, memory_bytes=None, reads=())


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("64K", 64 << 10), ("1.5g", 3 << 29), ("24GiB", 24 << 30), ("2TB", 2 * 10**12)]
)
def test_a_memory_limit_is_a_number_with_a_unit(text, size):
    assert parsed("--memory-limit", text).memory_limit == size


@pytest.mark.parametrize("text", ["", "0", "-1G", "much", "1X"])
def test_a_memory_limit_that_is_no_size_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        parsed("--memory-limit", text)
    assert "such as 24G" in capsys.readouterr().err or text == "-1G"


def test_the_default_memory_limit_leaves_some_of_the_machine_alone():
    limit = parsed().memory_limit
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        pytest.skip("no /proc here")
    whole = int(meminfo.read_text().split()[1]) << 10
    assert limit <= 0.91 * whole


def test_no_sandbox_and_a_required_one_exclude_each_other():
    with pytest.raises(SystemExit):
        parsed("--no-sandbox", "--require-sandbox")


def test_paths_to_read_are_made_absolute():
    assert parsed("--allow-read", "data", "--allow-read", "/opt/x").reads == (Path("data").absolute(), Path("/opt/x"))
