"""What a hostile evaluation can do: each test tries it for real, and looks at the effect."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.worker.sandbox.conftest import MEMORY
from tests.worker.sandbox.hostile import HostileEvaluator
from worker.evaluator import EvaluationFailed
from worker.sandbox import SandboxOptions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux offers what confining takes")

REFUSED = {"PermissionError", "OSError"}


def test_the_hostile_code_runs_at_all(hostile):
    assert hostile.attack("result = 6 * 7") == 42


# --- network ---------------------------------------------------------------------------------------------------------


def test_a_server_on_this_machine_is_not_reached(hostile, in_force):
    in_force("no network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        attack = "import socket\nsocket.create_connection(('127.0.0.1', port), 5)\nresult = 'connected'"
        assert hostile.attack(attack, port=server.getsockname()[1]) in REFUSED
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"])
def test_no_family_of_sockets_is_left_open(hostile, in_force, family):
    in_force("no network")
    in_force("no local sockets")
    attack = f"import socket\nsocket.socket(socket.{family}, socket.SOCK_RAW)\nresult = 'made'"
    assert hostile.attack(attack) in REFUSED


@pytest.mark.parametrize("abstract", [False, True])
def test_a_local_socket_is_not_reached(hostile, in_force, tmp_path, abstract):
    in_force("no local sockets")
    address = f"\0ranksearch-{os.getpid()}" if abstract else str(tmp_path / "bus")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        attack = "import socket\nsocket.socket(socket.AF_UNIX).connect(address)\nresult = 'connected'"
        assert hostile.attack(attack, address=address) == "PermissionError"


def test_the_kernels_other_way_to_sockets_is_closed(hostile, in_force):
    in_force("no network")
    attack = """
import ctypes
ring = ctypes.CDLL(None, use_errno=True).syscall(425, 8, ctypes.create_string_buffer(256))  # io_uring_setup
result = "made" if ring >= 0 else ctypes.get_errno()
"""
    assert hostile.attack(attack) != "made"


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_token_of_the_local_service_is_not_read(hostile, in_force, tmp_path):
    in_force("no reading of other files")
    token = tmp_path / ".ranksearch" / "token"
    token.parent.mkdir()
    token.write_text("secret")
    assert hostile.attack("result = open(path).read()", path=str(token)) == "PermissionError"


def test_the_home_directory_and_its_keys_are_not_read(folder, in_force, monkeypatch, tmp_path):
    in_force("no reading of other files")
    key = tmp_path / "home" / ".ssh" / "id_ed25519"
    key.parent.mkdir(parents=True)
    key.write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))  # a path on which the home directory lies
    made = HostileEvaluator(scripts=folder / "scripts", cache_dir=folder / "factors")
    try:
        assert made.attack("result = open(path).read()", path=str(key)) == "PermissionError"
        assert made.attack("import os\nresult = os.listdir(path)", path=str(key.parent)) == "PermissionError"
        assert made.attack("import os\nresult = os.path.expanduser('~')") != str(tmp_path / "home")
    finally:
        made.stop()


def test_the_machines_secrets_are_not_read(hostile, in_force):
    in_force("no reading of other files")
    attack = "import os\nresult = [p for p in paths if os.access(p, os.F_OK) and open(p, 'rb').read(1)]"
    for path in ("/etc/shadow", str(Path.home() / ".bashrc"), "/dev/mem", "/dev/kmsg"):
        if Path(path).exists():
            assert hostile.attack(attack, paths=[path]) == "PermissionError", path


def test_a_checkouts_other_files_are_not_read(hostile, in_force):
    in_force("no reading of other files")
    checkout = Path(__file__).parents[3]
    assert hostile.attack("result = open(path).read()", path=str(checkout / "pyproject.toml")) == "PermissionError"
    assert "worker" in hostile.attack("import os\nresult = os.listdir(path)", path=str(checkout))  # imports need names


def test_nothing_outside_is_written(hostile, in_force, tmp_path, folder):
    in_force("read-only files")
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    places = [tmp_path, folder / "scripts", Path.cwd(), Path("/tmp"), Path("/dev/shm"), Path.home()]  # noqa: S108 - to be refused
    for place in places:
        name = place / f"made-{os.getpid()}"
        assert hostile.attack("open(path, 'w')\nresult = 'written'", path=str(name)) in REFUSED
        assert not name.exists()
    for attack in (
        "open(path, 'w')",
        "open(path, 'r+')",
        "import os\nos.truncate(path, 0)",
        "import os\nos.unlink(path)",
        "import os\nos.rename(path, path + '2')",
        "import os\nos.rename(path, output / 'taken')",
        "import os\nos.link(path, output / 'taken')",
        "import os\nos.chmod(path, 0o666)",
        "import os\nos.setxattr(path, 'user.mark', b'1')",
    ):
        assert hostile.attack(attack + "\nresult = 'done'", path=str(kept)) in REFUSED, attack
    assert kept.read_text() == "as it was"


def test_the_cache_and_the_output_are_written(hostile, folder):
    attack = """
import os
for place in (cache, str(output)):
    os.makedirs(place + "/a", exist_ok=True)
    open(place + "/a/part", "w").write("factors")
    os.replace(place + "/a/part", place + "/a/whole")
    os.unlink(place + "/a/whole")
    os.rmdir(place + "/a")
result = "written"
"""
    assert hostile.attack(attack, cache=str(folder / "factors")) == "written"


def test_no_link_lures_the_agent(hostile, in_force, tmp_path):
    in_force("read-only files")
    assert hostile.attack("import os\nos.symlink(path, output / 'made')\nresult = 1", path=str(tmp_path)) in REFUSED


# --- processes and the agent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attack",
    [
        "os.fork() or os._exit(0)",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['/bin/true'])",
        "os.system('true') == 0 or (_ for _ in ()).throw(PermissionError())",
        "os.setsid()",
    ],
)
def test_no_process_is_started(hostile, in_force, attack):
    in_force("no new processes")
    before = hostile.pid
    assert hostile.attack(f"import os, subprocess\n{attack}\nresult = 'started'") in REFUSED
    assert hostile.pid == before
    assert not psutil.Process(before).children()


def test_a_fork_bomb_makes_nothing(hostile, in_force):
    in_force("no new processes")
    attack = """
import os
made = 0
for _ in range(200):
    try:
        if os.fork() == 0:
            os._exit(0)
        made += 1
    except OSError:
        pass
result = made
"""
    assert hostile.attack(attack) == 0


def test_threads_are_started(hostile):
    attack = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    result = sum(pool.map(int, range(8)))
"""
    assert hostile.attack(attack) == 28


@pytest.mark.parametrize(
    "attack",
    [
        "os.kill(agent, 0)",
        "os.kill(agent, signal.SIGTERM)",
        "os.kill(-1, signal.SIGTERM)",
        "signal.pidfd_send_signal(os.pidfd_open(agent), 0)",
        "open(f'/proc/{agent}/environ').read()",
        "open(f'/proc/{agent}/mem', 'rb').read(1)",
        "os.readlink(f'/proc/{agent}/fd/0')",
        "resource.prlimit(agent, resource.RLIMIT_NOFILE, (3, 3))",
        "system(101, 16, agent, 0, 0)",  # ptrace attach
        "system(101, 0x4206, agent, 0, 0)",  # ptrace seize
        "system(310, agent, 0, 0, 0, 0, 0)",  # process_vm_readv
    ],
)
def test_the_agent_is_out_of_reach(hostile, in_force, attack):
    in_force("agent out of reach")
    if "system(" in attack and os.uname().machine != "x86_64":
        pytest.skip("the numbers of these calls are x86_64's")
    preface = """
import ctypes, os, resource, signal
def system(*arguments):
    if ctypes.CDLL(None, use_errno=True).syscall(*map(ctypes.c_long, arguments)) == -1:
        raise OSError(ctypes.get_errno(), "refused")
"""
    assert hostile.attack(f"{preface}{attack}\nresult = 'reached'", agent=os.getpid()) in REFUSED


@pytest.mark.parametrize(
    "attack",
    [
        "prctl(1, 0)",  # let go of the agent's end
        "prctl(4, 1)",  # be looked into again
        "libc.unshare(0x10000000)",  # a user namespace with capabilities of its own
        "libc.mount(b'x', b'/mnt', b'tmpfs', 0, 0)",
        "libc.chroot(b'/')",
    ],
)
def test_what_was_given_up_cannot_be_had_back(hostile, in_force, attack):
    in_force("no new processes")
    preface = (
        "import ctypes\nlibc = ctypes.CDLL(None)\nprctl = lambda *a: libc.prctl(*map(ctypes.c_long, (*a, 0, 0, 0)))\n"
    )
    assert hostile.attack(f"{preface}result = {attack}") == -1


def test_limits_are_not_raised(hostile, in_force):
    in_force("file limits")
    attack = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\nresult = 'raised'"
    assert hostile.attack(attack) == "ValueError"


def test_its_environment_and_files_hold_nothing_of_the_agents(folder, monkeypatch):
    monkeypatch.setenv("RANKSEARCH_TOKEN", "very-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    with socket.create_server(("127.0.0.1", 0)) as held, (folder / "held").open("w") as file:
        for number in (held.fileno(), file.fileno()):
            os.set_inheritable(number, True)
        made = HostileEvaluator(scripts=folder / "scripts", cache_dir=folder / "factors")
        try:
            made.confinement()
            try:
                environment = Path(f"/proc/{made.pid}/environ").read_bytes()
                files = {int(path.name): path.readlink() for path in Path(f"/proc/{made.pid}/fd").iterdir()}
            except PermissionError:
                pytest.skip("only root may look into it")
        finally:
            made.stop()
    assert b"PATH=" in environment
    assert b"very-secret" not in environment
    assert files.keys() <= {0, 1, 2, 3}  # two pipes, and the log twice
    assert all("pipe" in str(files[number]) for number in files.keys() - {1, 2})


# --- memory and the end ----------------------------------------------------------------------------------------------


def test_memory_beyond_the_limit_is_refused_and_the_child_goes_on(hostile, in_force):
    in_force("memory limit")
    pid = hostile.pid
    assert hostile.attack("result = len(bytearray(size))", size=2 * MEMORY) == "MemoryError"
    assert hostile.attack("result = 1") == 1
    assert hostile.pid == pid


def test_shared_memory_beyond_the_limit_ends_the_child(folder):
    limit = 64 << 20
    made = HostileEvaluator(
        scripts=folder / "scripts", cache_dir=folder / "factors", sandbox=SandboxOptions(memory_bytes=limit)
    )
    attack = """
import mmap, time
taken = mmap.mmap(-1, size)
for _ in range(size >> 20):
    taken.write(bytes(range(256)) * 4096)
time.sleep(60)
"""
    try:
        with pytest.raises(EvaluationFailed) as failed:
            made.attack(attack, size=limit + (16 << 20))
        assert failed.value.error.code == "evaluation_out_of_memory"
        assert made.pid is None
    finally:
        made.stop()


def test_a_killed_agent_takes_a_child_with_it_that_does_not_listen(tmp_path, in_force):
    in_force("ends with its agent")
    script = f"""
import sys
from pathlib import Path
from tests.worker.sandbox.hostile import HostileEvaluator
made = HostileEvaluator(scripts=Path({str(tmp_path / "scripts")!r}), cache_dir=Path({str(tmp_path / "factors")!r}))
made.confinement()
print(made.pid, flush=True)
made.attack("import os, time\\nos.close(0)\\nopen(path, 'w')\\nwhile True: time.sleep(1)", path=sys.argv[1])
"""
    deaf = tmp_path / "factors" / "deaf"
    agent = subprocess.Popen([sys.executable, "-c", script, str(deaf)], stdout=subprocess.PIPE, env=_with_path())
    try:
        assert agent.stdout is not None
        child = psutil.Process(int(agent.stdout.readline()))
        _wait_for(deaf.exists)
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone


def _with_path():
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}


def _wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
