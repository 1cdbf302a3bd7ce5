from __future__ import annotations

import gc
import json
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import httpx
import pytest
import uvicorn

from service.__main__ import main
from service.app import create_app
from service.running import DataDirInUse, Server, announce, keep_token, lock_data_dir
from service.settings import Settings
from service.version import VERSION
from tests.service.api.conftest import launched, process  # noqa: F401 - fixtures
from tests.service.api.test_events import prepared


def test_the_token_is_for_its_owner_only(tmp_path):
    keep_token(tmp_path)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_the_token_is_kept(tmp_path):
    assert keep_token(tmp_path) == keep_token(tmp_path)


def test_two_data_directories_have_two_tokens(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert keep_token(tmp_path / "a") != keep_token(tmp_path / "b")


def test_the_announcement_says_where_and_who(tmp_path):
    assert set(json.loads(announce(tmp_path, "http://x").read_text())) == {"url", "pid"}


def test_a_locked_directory_is_in_use(tmp_path):
    with lock_data_dir(tmp_path):
        announce(tmp_path, "http://127.0.0.1:1")
        with pytest.raises(DataDirInUse, match=r"http://127\.0\.0\.1:1"), lock_data_dir(tmp_path):
            pass


def test_a_lock_ends_with_its_block(tmp_path):
    for _ in range(2):
        with lock_data_dir(tmp_path):
            pass


def test_a_second_service_is_refused(process, capfd):  # noqa: F811 - the fixture
    assert main(["--data-dir", str(process.data_dir), "--port", "0"]) == 1
    assert "another service runs" in capfd.readouterr().err


def test_a_port_that_is_taken_is_refused(process, tmp_path, capfd):  # noqa: F811 - the fixture
    assert main(["--data-dir", str(tmp_path), "--port", str(process.port)]) == 1
    assert "in use" in capfd.readouterr().err


def test_what_is_loaded_when_it_starts_is_not_looked_at_by_the_garbage_collector_again(tmp_path):
    spared = []

    def accepting(_):
        spared.append(gc.get_freeze_count())
        server.should_exit = True

    app = create_app(Settings(data_dir=tmp_path, token=keep_token(tmp_path)))
    server = Server(uvicorn.Config(app, port=0, log_config=None), accepting)
    gc.unfreeze()
    try:
        server.run()
    finally:
        gc.freeze()  # as all tests find it
    assert spared[0] > 100_000


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_open_streams_and_claims(launched, end):  # noqa: F811 - the fixture
    service = launched("--grace-seconds", "60")
    study, agent = prepared(service, salt=1)
    agent.work(1)
    for _ in range(2):
        agent.must_claim()

    def hold(method: str, path: str, **options) -> None:
        try:
            with httpx.Client(base_url=service.http.base_url, headers=service.http.headers, timeout=30) as http:
                http.request(method, path, **options)
        except httpx.HTTPError:
            pass

    about = {"worker": "w", "name": "w", "device": "cpu", "version": VERSION, "wait_seconds": 60}
    holding = [
        threading.Thread(target=hold, args=("GET", f"/v1/studies/{study}/events")),
        threading.Thread(target=hold, args=("POST", "/v1/jobs/claim"), kwargs={"json": about}),
    ]
    for thread in holding:
        thread.start()
    time.sleep(0.5)
    service.process.send_signal(end)
    assert service.process.wait(30) == 0  # half of what it would give requests that do not end by themselves
    assert not (service.data_dir / "service.json").exists()
    for thread in holding:
        thread.join()


def test_a_killed_service_leaves_a_directory_that_can_be_used_again(launched):  # noqa: F811 - the fixture
    first = launched()
    study, agent = prepared(first, salt=1)
    agent.work(3)  # the baseline, the table of layers, a trial
    first.process.kill()
    first.process.wait()
    (first.data_dir / "service.json").unlink()
    again = launched()
    assert again.token == first.token
    assert again.http.get(f"/v1/studies/{study}").json()["progress"]["complete"] == 1


def test_it_imports_neither_torch_nor_the_worker():
    code = "import sys, service.__main__; print({'torch', 'proxy', 'worker', 'tensorly'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_database_that_is_away_is_said_in_a_few_words_without_its_password(tmp_path, capfd):
    url = "postgresql://u:hush-hush@127.0.0.1:1/n?connect_timeout=2"
    assert main(["--data-dir", str(tmp_path), "--port", "0", "--database-url", url]) == 1
    said = capfd.readouterr().err
    assert "the database does not answer" in said
    assert not {"Traceback", "hush-hush"} & set(said.replace(":", " ").split())


def test_a_schema_of_a_newer_program_is_refused(sqlite_template, tmp_path, capfd):
    shutil.copy(sqlite_template, tmp_path / "ranksearch.db")
    with sqlite3.connect(tmp_path / "ranksearch.db") as connection:
        connection.execute("UPDATE rs_alembic_version SET version_num = '9999'")
    assert main(["--data-dir", str(tmp_path), "--port", "0"]) == 1
    said = capfd.readouterr().err
    assert "a newer program" in said
    assert "Traceback" not in said
