"""The account that a child gives of itself, on this kernel and under one that offers less."""

import platform
import sys

import pytest

from ranksearch.contracts.errors import UnavailableError
from tests.worker.sandbox.hostile import HostileEvaluator
from worker.evaluator import Evaluator
from worker.sandbox import SandboxOptions, confinement

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux offers what confining takes")

# What a container's own filter does to system calls that it does not list.
REFUSE = """
from worker.sandbox import seccomp
from worker.sandbox.kernel import prctl
prctl(38, 1)
steps = [seccomp._Step(0x20, 0)]
for number in {numbers}:
    steps += seccomp._when(number, [seccomp._fail(1)])
seccomp._load([*steps, *seccomp._never({prctl}, 0, {options}), seccomp._pass()])
"""
X86_64 = {"landlock": 444, "unshare": 272, "prctl": 157}
AARCH64 = {"landlock": 444, "unshare": 97, "prctl": 167}
SET_SECCOMP = 22


@pytest.fixture
def numbers():
    known = {"x86_64": X86_64, "aarch64": AARCH64}
    if platform.machine() not in known:
        pytest.skip("no list of system calls for this machine")
    return known[platform.machine()]


@pytest.fixture
def confined(folder, numbers):
    """Measure → why it is not in force (None: it is) in a child that may not use these."""
    started = []

    def measures(*refused, filters=True):
        preparation = REFUSE.format(
            numbers=[numbers[name] for name in refused],
            prctl=numbers["prctl"],
            options=[] if filters else [SET_SECCOMP],
        )
        made = HostileEvaluator(scripts=folder / "scripts", cache_dir=folder / "factors", preparation=preparation)
        started.append(made)
        return {measure.name: measure.reason for measure in made.confinement() if not measure.in_force}

    yield measures
    for made in started:
        made.stop()


def test_without_user_namespaces_the_filter_alone_keeps_the_network_away(confined, in_force):
    in_force("no network")
    assert not {"no network", "no local sockets", "no privileges"} & confined("unshare").keys()


def test_without_a_filter_the_namespace_keeps_internet_protocols_away(confined):
    lacking = confined(filters=False)
    if "user namespaces" in lacking.get("no network", ""):
        pytest.skip("no user namespaces here")
    # A namespace has no say in sockets between a virtual machine and its host, which is told where there are any.
    assert "can be sent to" not in lacking.get("no network", "")
    assert "seccomp" in lacking["no new processes"]


def test_without_both_the_network_is_reported_as_reachable(confined):
    reason = confined("unshare", filters=False)["no network"]
    assert "can be sent to" in reason
    assert "user namespaces" in reason
    assert "seccomp" in reason


def test_without_landlock_files_are_reported_as_readable(confined):
    lacking = confined("landlock")
    assert "a file of this user can be read" in lacking["no reading of other files"]
    assert "Linux 5.13" in lacking["no reading of other files"]
    assert "a file can be made" in lacking["read-only files"]


def test_a_child_that_has_less_works_all_the_same(folder, numbers):
    preparation = REFUSE.format(
        numbers=[numbers["landlock"], numbers["unshare"]], prctl=numbers["prctl"], options=[SET_SECCOMP]
    )
    made = HostileEvaluator(scripts=folder / "scripts", cache_dir=folder / "factors", preparation=preparation)
    try:
        assert made.attack("result = 6 * 7") == 42
    finally:
        made.stop()


def test_a_required_sandbox_that_cannot_be_had_is_refused_with_what_is_missing(folder, numbers):
    made = HostileEvaluator(
        scripts=folder / "scripts",
        cache_dir=folder / "factors",
        preparation=REFUSE.format(numbers=[numbers["landlock"]], prctl=numbers["prctl"], options=[]),
        sandbox=SandboxOptions(required=True),
    )
    with pytest.raises(UnavailableError, match="--require-sandbox") as refused:
        made.confinement()
    assert refused.value.code == "sandbox_unavailable"
    assert "read-only files" in str(refused.value)
    assert "Landlock" in str(refused.value)
    assert made.pid is None
    made.stop()


def test_every_measure_has_one_name_whether_it_is_in_force_or_not(hostile, folder):
    off = Evaluator(cache_dir=folder / "factors", sandbox=SandboxOptions(enabled=False))
    try:
        told = off.confinement()
        assert [measure.name for measure in hostile.confinement()] == [measure.name for measure in told]
        assert {measure.name for measure in told if measure.in_force} == {"time limit", "watched memory"}
        assert all("--no-sandbox" in measure.reason for measure in told if not measure.in_force)
    finally:
        off.stop()


def test_another_system_is_told_that_only_linux_offers_it(monkeypatch, tmp_path):
    monkeypatch.setattr(confinement.sys, "platform", "darwin")
    policy = SandboxOptions().policy(device="cpu", reads=[], writes=[], witness=tmp_path / "witness")
    told = confinement.confine(policy)
    assert [measure.name for measure in told] == list(confinement.NAMES)
    assert not any(measure.in_force for measure in told)
    assert all("Linux" in measure.reason for measure in told)
