"""The rehearsal itself takes an administrator and ten minutes: here, that the guide has what it runs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.docker.rehearsal.guide import BLOCKS, GUIDE, Guide

HOST = "ranksearch.internal:198.51.100.2"


@pytest.mark.parametrize("section", BLOCKS)
def test_the_guide_has_the_sections_that_are_followed_and_they_are_shell(section):
    shell = shutil.which("bash")
    assert shell is not None
    for block in Guide(GUIDE, HOST).blocks(section):
        subprocess.run([shell, "-n"], input=block, text=True, check=True)


def test_a_reader_without_a_gpu_and_with_a_name_of_their_own_is_followed():
    (block,) = Guide(GUIDE, HOST).blocks("Machine B: a worker with a GPU")
    assert "example.com" not in block
    assert "--gpus" not in block
    assert f"--add-host {HOST} \\\n  ranksearch-worker:cuda --url https://ranksearch.internal" in block


def test_a_guide_that_says_something_else_is_noticed(tmp_path):
    other = tmp_path / "README.md"
    other.write_text(GUIDE.read_text().replace("--gpus all", "--gpus 1"))
    with pytest.raises(LookupError, match="--gpus all"):
        Guide(other, HOST)
    other.write_text(GUIDE.read_text().replace("## Back-ups", "## Copies"))
    with pytest.raises(LookupError, match="Back-ups"):
        Guide(other, HOST).blocks("Back-ups")
