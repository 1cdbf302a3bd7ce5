from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

import service.dashboard
from service.dashboard.static_files import StaticFiles

STATIC = Path(service.dashboard.__file__).parent / "static"
VENDORED = json.loads((STATIC / "vendor" / "vendored.json").read_text("utf-8"))


@pytest.mark.parametrize("one", VENDORED, ids=lambda one: one["file"])
def test_a_file_of_others_is_as_it_was_published_and_has_its_licence(one):
    content = (STATIC / "vendor" / one["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == one["sha256"]
    assert (STATIC / "vendor" / one["licence"]).read_text("utf-8")
    assert one["version"] in one["package"]


def test_every_file_of_others_is_listed():
    there = {path.name for path in (STATIC / "vendor").iterdir()} - {"vendored.json"}
    assert there == {one["file"] for one in VENDORED} | {one["licence"] for one in VENDORED}


def test_anybody_may_have_them(stranger):
    address = re.search(r'href="(/static/[^"]+/app\.css)"', stranger.get("/sign-in").text)[1]
    answer = stranger.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_they_are_sent_compressed_to_those_who_take_that(stranger):
    address = StaticFiles().url("app.css")
    compressed, plain = (stranger.get(address, headers={"accept-encoding": name}) for name in ("gzip", "identity"))
    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert compressed.content == plain.content == (STATIC / "app.css").read_bytes()
    assert gzip.compress(plain.content, mtime=0) != plain.content


def test_a_file_of_another_version_is_answered_and_not_kept(stranger):
    assert stranger.get("/static/0123/app.css").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpages.py", "vendor/htmx.LICENSE", "%2fetc/passwd"])
def test_nothing_else_is_a_file(stranger, name):
    answer = stranger.get(f"/static/0123/{name}", follow_redirects=True)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text


def test_their_common_version_changes_with_any_of_them(tmp_path):
    (tmp_path / "a.js").write_text("1")
    (tmp_path / "b.css").write_text("2")
    before = StaticFiles(tmp_path).version
    assert StaticFiles(tmp_path).version == before
    (tmp_path / "b.css").write_text("3")
    assert StaticFiles(tmp_path).version != before


def test_modules_import_files_that_are_there():
    for path in STATIC.glob("*.js"):
        for name in re.findall(r'(?:from|import) "\./([^"]+)"', path.read_text("utf-8")):
            assert (STATIC / name).exists(), f"{path.name} imports {name}"
