import os
import time
from pathlib import Path

import psutil
import pytest

from ranksearch.local import Child

FOREVER = "import time; time.sleep(60)"


@pytest.fixture
def start(tmp_path):
    children = []

    def make(module, *arguments, **environment):
        child = Child("it", module, arguments, environment=environment, log=tmp_path / "logs" / "it.log")
        children.append(child)
        return child

    yield make
    for child in children:
        child.kill()


def forever(start, statement=FOREVER):
    return start("timeit", "-n1", "-r1", statement)


def test_output_goes_to_the_log(start):
    child = start("platform")
    assert child.wait(10)
    assert child.tail() == child.log.read_text().strip() != ""


def test_an_exit_code_is_known_after_the_end(start):
    child = start("timeit", "--nonsense")
    child.wait(10)
    assert (child.exit_code, child.running) == (2, False)


def test_asked_to_stop_it_stops(start):
    child = forever(start)
    child.ask_to_stop()
    assert child.wait(10)


def test_killing_takes_what_it_started_with_it(start):
    child = forever(start, f"import subprocess; subprocess.Popen(['sleep', '61']); {FOREVER}")
    deadline = time.monotonic() + 10
    while not (below := psutil.Process(child.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    assert below
    assert psutil.wait_procs(below, timeout=5)[1] == []


def test_killing_twice_is_no_error(start):
    child = forever(start)
    child.kill()
    child.kill()
    assert not child.running


def test_a_restart_is_another_process_with_the_same_arguments(start):
    child = forever(start)
    before = child.pid
    child.restart()
    assert (child.pid != before, child.running) == (True, True)


def test_the_environment_is_handed_on(start):
    child = start("timeit", "-n1", "-r1", "import os; print(os.environ['WORD'])", WORD="hush")
    child.wait(10)
    assert "hush" in child.tail()


def test_a_module_in_the_working_directory_is_not_what_is_meant(start, tmp_path, monkeypatch):
    (tmp_path / "service.py").write_text("print('not this one')")
    monkeypatch.chdir(tmp_path)
    child = start("service", "--help")
    child.wait(30)
    assert "not this one" not in child.tail()
    assert child.exit_code == 0


def test_a_large_log_is_put_aside(tmp_path):
    log = tmp_path / "it.log"
    log.write_bytes(b"x" * (6 << 20))
    child = Child("it", "platform", [], environment={}, log=log)
    child.wait(10)
    assert (log.stat().st_size < 1000, (tmp_path / "it.log.1").exists()) == (True, True)


def test_ctrl_c_on_the_terminal_does_not_reach_it(start):
    child = forever(start)
    assert os.getpgid(child.pid) != os.getpgid(0)


def test_a_log_that_is_gone_has_an_empty_tail(start):
    child = start("platform")
    child.wait(10)
    Path(child.log).unlink()
    assert child.tail() == ""
