import contextvars
import io
import json
import logging
import threading

import pytest

from ranksearch.contracts.loglines import (
    JsonLines,
    TextLines,
    context_fields,
    log_lines,
    logged_with,
    new_request_id,
    note,
    request_id_of,
)


@pytest.fixture
def written():
    """What a logger wrote, in each form."""
    log = logging.Logger("a.logger")  # noqa: LOG001 - one of its own for each test
    streams = {"json": io.StringIO(), "text": io.StringIO()}
    for form, kind in (("json", JsonLines), ("text", TextLines)):
        handler = logging.StreamHandler(streams[form])
        handler.setFormatter(kind())
        log.addHandler(handler)
    return log, {form: stream.getvalue for form, stream in streams.items()}


def test_a_json_line_has_time_level_logger_event_and_fields(written):
    log, lines = written
    log.warning("so many: %d", 3, extra={"status": 503, "route": "/v1/x"})
    told = json.loads(lines["json"]())
    assert told.pop("time").endswith("Z")
    assert told == {"level": "warning", "logger": "a.logger", "event": "so many: 3", "status": 503, "route": "/v1/x"}


def test_a_text_line_has_the_same(written):
    log, lines = written
    log.info("ended", extra={"study": "sty_1", "reason": 'no "room" left', "ms": 1.5})
    _, _, rest = lines["text"]().partition(" ")
    assert rest == 'level=info logger=a.logger ended study=sty_1 reason="no \\"room\\" left" ms=1.5\n'


def test_a_time_is_utc(written):
    log, lines = written
    record = log.makeRecord("x", logging.INFO, "", 0, "e", (), None)
    record.created = 1_700_000_000.25
    log.handle(record)
    assert json.loads(lines["json"]())["time"] == "2023-11-14T22:13:20.250Z"


def test_nobody_can_write_a_line_of_its_own(written):
    log, lines = written
    log.info("path %s", "/x\nlevel=error logger=service fake", extra={"path": "/y\nlevel=error"})
    assert lines["text"]().count("\n") == lines["json"]().count("\n") == 1


def test_an_exception_is_within_the_json_line(written):
    log, lines = written
    try:
        int("why")
    except ValueError:
        log.exception("failed")
    assert lines["json"]().count("\n") == 1
    assert json.loads(lines["json"]())["exception"].endswith(": 'why'")
    assert lines["text"]().rstrip().endswith(": 'why'")


def test_fields_of_the_context_are_on_every_line(written):
    log, lines = written
    with logged_with(request_id="r1", study=None), logged_with(job="job_1"):
        log.info("in")
    log.info("out")
    inside, outside = map(json.loads, lines["json"]().splitlines())
    assert (inside["request_id"], inside["job"], "study" in inside) == ("r1", "job_1", False)
    assert not {"request_id", "job"} & set(outside)


def test_what_a_thread_notes_is_known_to_who_started_it():
    with logged_with(request_id="r1"):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(note,), kwargs={"job": "job_1"})
        thread.start()
        thread.join()
        assert context_fields() == {"request_id": "r1", "job": "job_1"}
    assert context_fields() == {}


def test_a_note_outside_of_any_context_does_nothing():
    note(job="job_1")
    assert context_fields() == {}


def test_a_field_cannot_take_the_place_of_the_level(written):
    log, lines = written
    log.info("x", extra={"level": "error", "event": "another"})
    assert (json.loads(lines["json"]())["level"], json.loads(lines["json"]())["event"]) == ("info", "x")


@pytest.mark.parametrize("header", ["abc-123", "A" * 64, "01:02.x_y", "7"])
def test_a_well_formed_request_id_is_kept(header):
    assert request_id_of(header) == header


@pytest.mark.parametrize("header", [None, "", "a b", "x" * 65, "-x", "é", "a\n", 'a"'])
def test_any_other_is_replaced(header):
    assert request_id_of(header) != header
    assert len(request_id_of(header)) == len(new_request_id()) == 16


def test_everything_is_logged_in_the_form_asked_for():
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    stream, level = io.StringIO(), root.level
    try:
        log_lines("info", "json", stream)
        logging.getLogger("uvicorn.error").info("from elsewhere")
        logging.getLogger("x").debug("too little")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["from elsewhere"]
