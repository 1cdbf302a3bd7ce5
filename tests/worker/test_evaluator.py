import os
import sys
import time

import psutil
import pytest
import torch

from ranksearch.contracts.errors import UnavailableError
from tests.worker.stand_ins import CRASH, GOOD, SLOW, child, job
from worker import child_process
from worker import evaluator as evaluator_module
from worker.evaluator import EvaluationFailed, Evaluator, Interrupted
from worker.sandbox import SandboxOptions


@pytest.fixture
def evaluator(tmp_path):
    made = []

    def make(body, **options):
        made.append(Evaluator(cache_dir=tmp_path, command=child(body), **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def run(evaluator, tmp_path, unwanted=lambda: False):
    return evaluator.run(job().task, {}, tmp_path, unwanted)


def test_answers_what_the_child_reports(evaluator, tmp_path):
    assert run(evaluator(GOOD), tmp_path).profile.dense.macs == 1


def test_keeps_one_child_from_task_to_task(evaluator, tmp_path):
    kept = evaluator(GOOD)
    assert run(kept, tmp_path).profile.solver == run(kept, tmp_path).profile.solver


def test_a_crash_is_reported_with_its_signal_and_worth_another_attempt(evaluator, tmp_path):
    with pytest.raises(EvaluationFailed, match="signal 9") as failed:
        run(evaluator(CRASH), tmp_path)
    assert failed.value.error.code == "evaluation_crashed"
    assert failed.value.retry


def test_a_new_child_is_started_after_a_crash(evaluator, tmp_path):
    crashing_once = f"""
marker = {str(tmp_path / "crashed")!r}
if not os.path.exists(marker):
    open(marker, "w").close()
    {CRASH}
{GOOD}"""
    made = evaluator(crashing_once)
    with pytest.raises(EvaluationFailed):
        run(made, tmp_path)
    assert run(made, tmp_path).profile.dense.macs == 1


def test_a_hang_is_ended_at_the_time_limit(evaluator, tmp_path):
    made = evaluator(SLOW, time_limit=0.3)
    with pytest.raises(EvaluationFailed) as failed:
        run(made, tmp_path)
    assert failed.value.error.code == "evaluation_timeout"
    assert made.pid is None


def test_an_unwanted_evaluation_is_ended_with_its_process(evaluator, tmp_path):
    made = evaluator(SLOW)
    seen = []

    def unwanted():
        seen.append(made.pid)
        return True

    with pytest.raises(Interrupted):
        run(made, tmp_path, unwanted)
    assert not psutil.pid_exists(seen[0])


def test_noise_on_the_pipe_is_no_result(evaluator, tmp_path):
    with pytest.raises(EvaluationFailed, match="no report"):
        run(evaluator("print('hello', flush=True)"), tmp_path)


def test_a_line_without_an_end_does_not_fill_the_agents_memory(evaluator, tmp_path, monkeypatch):
    monkeypatch.setattr(child_process, "LONGEST_LINE", 1 << 16)
    monkeypatch.setattr(evaluator_module, "LONGEST_LINE", 1 << 16)
    flood = "while True: sys.stdout.write('[' * 4096)"
    with pytest.raises(EvaluationFailed, match="no report") as failed:
        run(evaluator(flood), tmp_path)
    assert len(failed.value.error.got) < 1000


def test_lines_that_nobody_asked_for_do_not_pile_up(evaluator, tmp_path):
    made = evaluator("while True: print('{}', flush=True)")
    child = made._running_child()
    child.send(b'{"number": 1}\n')
    while not child._lines.full():
        time.sleep(0.01)
    made.stop()
    assert not child._reader.is_alive()


def test_what_a_child_leaves_behind_ends_with_it(evaluator, tmp_path):
    body = f"""
import subprocess
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "left")!r}, "w").write(str(left.pid))
{GOOD}"""
    made = evaluator(body)
    run(made, tmp_path)
    left = psutil.Process(int((tmp_path / "left").read_text()))
    made.stop()
    psutil.wait_procs([left], timeout=60)
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


def test_a_child_that_ends_at_its_start_is_told(tmp_path):
    made = Evaluator(cache_dir=tmp_path, command=[sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(EvaluationFailed, match="exit status 3 at its start"):
        made.confinement()
    made.stop()


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine whose torch sees no GPU")
@pytest.mark.parametrize("enabled", [True, False])
def test_a_device_that_does_not_work_is_told_before_any_job_is_taken(tmp_path, enabled):
    """As it was with CUDA in a sandbox that kept it from starting: every evaluation failed, one after the other."""
    made = Evaluator(device="cuda:0", cache_dir=tmp_path, sandbox=SandboxOptions(enabled=enabled))
    with pytest.raises(UnavailableError) as refused:
        made.confinement()
    assert refused.value.code == "device_unusable"
    assert "cuda:0" in refused.value.detail
    assert "NVIDIA" in refused.value.got or "CUDA" in refused.value.got
    assert "--no-sandbox" in refused.value.mend
    assert made.pid is None
    made.stop()


def test_a_reported_problem_keeps_its_code(evaluator, tmp_path):
    body = """
problem = {"type": "urn:x", "title": "t", "status": 422, "code": "document_truncated", "detail": "too short"}
print(json.dumps({"number": number, "problem": problem}), flush=True)
"""
    with pytest.raises(EvaluationFailed) as failed:
        run(evaluator(body), tmp_path)
    assert failed.value.error.code == "document_truncated"
    assert not failed.value.retry


def test_the_child_sees_no_token(evaluator, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSEARCH_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    body = f"open({str(tmp_path / 'env')!r}, 'w').write(repr(dict(os.environ)))" + GOOD
    run(evaluator(body), tmp_path)
    assert "secret" not in (tmp_path / "env").read_text()


def test_the_real_child_ends_when_its_agent_is_gone(tmp_path):
    made = Evaluator(cache_dir=tmp_path)
    child = made._running_child()
    child.close()
    assert child.wait(60) == 0
    made.stop()


def test_stop_ends_a_child_that_does_not_listen(evaluator, tmp_path):
    made = evaluator("pass")
    deaf = child("pass")
    deaf[-1] = "import time\nprint('{\"sandbox\": []}', flush=True)\nwhile True: time.sleep(1)"
    made._command = deaf
    pid = made._running_child().pid
    made.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


WANTS = 'print(json.dumps({"number": number, "wants": ["ab" * 32]}), flush=True)\n'
ANSWER = 'assert json.loads(sys.stdin.readline())["fetched"] == 1\n'


def test_what_the_child_wants_of_others_is_fetched_before_it_goes_on(evaluator, tmp_path):
    wanted = []
    made = evaluator(WANTS + ANSWER + WANTS + ANSWER + GOOD, fetch=lambda keys: wanted.append(list(keys)) or 1)
    assert run(made, tmp_path).profile.dense.macs == 1
    assert wanted == [["ab" * 32]] * 2


def test_a_child_that_asks_for_ever_is_ended(evaluator, tmp_path):
    made = evaluator(f"while True:\n    {WANTS.strip()}\n    sys.stdin.readline()", fetch=len)
    with pytest.raises(EvaluationFailed, match="again and again"):
        run(made, tmp_path)
    assert made.pid is None


def test_keys_that_are_paths_are_no_keys(evaluator, tmp_path):
    made = evaluator(WANTS.replace('"ab" * 32', '"../" * 21 + "x"') + GOOD, fetch=pytest.fail)
    with pytest.raises(EvaluationFailed, match="no report"):
        run(made, tmp_path)
