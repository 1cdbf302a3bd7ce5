"""The child of a GPU worker: what the GPU's driver must be able to do, and nothing more. No GPU is needed to try it.

NVIDIA's driver gives up (``OS call failed``) in a process that may not name its threads, or not make a local socket,
bind it and listen on it. Both were found out on an H200, measure by measure.
"""

import os
import socket
import sys

import pytest

from tests.worker.sandbox.hostile import HostileEvaluator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux offers what confining takes")


@pytest.fixture(scope="module")
def child(folder):
    made = HostileEvaluator(scripts=folder / "scripts", cache_dir=folder / "factors", device="cuda:0")
    made.confinement()
    yield made
    made.stop()


def test_every_measure_is_in_force_that_is_for_a_cpu_but_the_memory_limit(child, hostile):
    own, cpus = ({one.name for one in some.confinement() if one.in_force} for some in (child, hostile))
    assert own == cpus - {"memory limit"}


def test_threads_are_named(child):
    attack = """
import threading
path = f"/proc/self/task/{threading.get_native_id()}/comm"
open(path, "w").write("cuda-worker")
result = open(path).read()
"""
    assert child.attack(attack) == "cuda-worker\n"


@pytest.mark.parametrize(
    "path", ["/proc/self/coredump_filter", "/proc/self/oom_score_adj", "/proc/sys/kernel/hostname"]
)
def test_nothing_else_of_the_process_or_the_kernel_is_written(child, in_force, path):
    in_force("read-only files")
    assert child.attack("result = open(path, 'w').write('0')", path=path) == "PermissionError"


def test_a_socket_listens_and_is_not_heard(child, in_force):
    in_force("no local sockets")
    attack = """
import socket
made = socket.socket(socket.AF_UNIX)
made.bind(address)
made.listen()
try:
    made.accept()
except PermissionError:
    result = "listens"
"""
    assert child.attack(attack, address=f"\0ranksearch-gpu-{os.getpid()}") == "listens"


@pytest.mark.parametrize("abstract", [False, True])
@pytest.mark.parametrize("attempt", ["connect(address)", "sendto(b'x', address)", "sendmsg([b'x'], [], 0, address)"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_local_socket_is_not_reached(child, in_force, tmp_path, abstract, attempt, kind):
    in_force("no local sockets")
    address = f"\0ranksearch-{os.getpid()}" if abstract else str(tmp_path / "bus")
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(address)
        attack = f"import socket\nsocket.socket(socket.AF_UNIX, {int(kind)}).{attempt}\nresult = 'reached'"
        assert child.attack(attack, address=address) == "PermissionError"


def test_no_socket_is_made_in_the_file_system(child, in_force, tmp_path):
    in_force("read-only files")
    attack = "import socket\nsocket.socket(socket.AF_UNIX).bind(address)\nresult = 'bound'"
    assert child.attack(attack, address=str(tmp_path / "own")) == "PermissionError"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"])
def test_no_other_family_of_sockets_is_open(child, in_force, family):
    in_force("no network")
    attack = f"import socket\nsocket.socket(socket.{family}, socket.SOCK_RAW)\nresult = 'made'"
    assert child.attack(attack) in {"PermissionError", "OSError"}
