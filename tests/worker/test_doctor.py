import json
import sys

import torch

from worker import doctor


def found(cache_dir):
    return {check.name: check for check in doctor.examine(cache_dir).checks}


def test_this_machine_can_evaluate(tmp_path):
    checks = found(tmp_path / "cache")
    assert checks["torch"].status == "ok"
    assert torch.__version__ in checks["torch"].what
    assert checks["cache"].status in {"ok", "warn"}
    assert not doctor.examine(tmp_path / "cache").failed


def test_a_gpu_is_tried_and_its_absence_is_said(tmp_path):
    checks = found(tmp_path)
    assert ("cuda:0" in checks) is torch.cuda.is_available()
    assert ("cuda" in checks) is not torch.cuda.is_available()


def test_a_missing_torch_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    check = found(tmp_path)["torch"]
    assert (check.status, check.mend) == ("fail", "pip install 'ranksearch[worker]'")


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    assert found(tmp_path / "file" / "cache")["cache"].status == "fail"


def test_more_threads_than_cores(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert found(tmp_path)["cpu"].status == "warn"


def test_its_command_answers_json_for_programs(tmp_path, capsys):
    assert doctor.main(["--json", "--cache-dir", str(tmp_path)]) == 0
    assert {check["name"] for check in json.loads(capsys.readouterr().out)["checks"]} >= {"torch", "cpu", "cache"}
