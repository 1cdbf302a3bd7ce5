import pytest

from tests.worker.sandbox.hostile import HostileEvaluator
from worker.sandbox import SandboxOptions

MEMORY = 256 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("agent")


@pytest.fixture(scope="module")
def hostile(folder):
    made = HostileEvaluator(
        scripts=folder / "scripts", cache_dir=folder / "factors", sandbox=SandboxOptions(memory_bytes=MEMORY)
    )
    made.confinement()
    yield made
    made.stop()


@pytest.fixture
def in_force(hostile):
    """Skip where this kernel does not offer a measure, saying why."""

    def check(name):
        if reason := hostile.lacks(name):
            pytest.skip(f"{name} is not in force here: {reason}")

    return check
