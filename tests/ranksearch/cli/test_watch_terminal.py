"""``ranksearch watch`` in a real terminal, of a real service whose worker the test plays."""

import os
import signal
from contextlib import ExitStack

import pytest

from tests.ranksearch.pseudo_terminal import PseudoTerminal


@pytest.fixture
def terminal_of(workshop):
    """Opens a terminal in which a command runs."""
    with ExitStack() as opened:

        def start(words, rows=30, columns=80, **environment):
            about = {"RANKSEARCH_URL": workshop.local.url, "RANKSEARCH_TOKEN": workshop.local.token, **environment}
            return opened.enter_context(PseudoTerminal(words, about, rows=rows, columns=columns))

        yield start


@pytest.fixture
def watch(terminal_of):
    """Opens a terminal in which a study is watched."""
    return lambda study, *words, **options: terminal_of(["watch", study, *words], **options)


def test_what_happens_is_drawn_and_the_last_picture_stays(workshop, watch):
    study = workshop.submit("live", n_trials=8)
    agent = workshop.agent()
    agent.work(limit=3)
    terminal = watch(study)
    terminal.until_shown("2/8 trials")
    job = agent.must_claim("trial")
    terminal.until_shown("trial 2")
    agent.complete(job)
    terminal.until_shown("3/8 trials")
    agent.work()
    assert terminal.ended() == 0
    assert terminal.is_whole
    assert terminal.scrollback[0].endswith("completed")
    text = "\n".join(terminal.scrollback)
    assert "8/8 trials" in text
    assert f"best ranks {workshop.local.url}/v1/studies/{study}/best" in text
    assert "worker  " not in text


def test_ctrl_c_leaves_the_terminal_whole_and_the_last_picture_in_it(workshop, watch):
    study = workshop.submit("interrupted")
    workshop.agent().work(limit=5)
    terminal = watch(study)
    terminal.until_shown("4/12 trials")
    terminal.type(b"\x03")
    assert terminal.ended() == 130
    assert terminal.is_whole
    assert "4/12 trials" in "\n".join(terminal.scrollback)
    assert terminal.scrollback[-2] == f"the study goes on: ranksearch watch {study}"


def test_a_terminated_watcher_leaves_the_terminal_whole(workshop, watch):
    terminal = watch(workshop.submit("terminated"))
    terminal.until_shown("0/12 trials")
    terminal.process.send_signal(signal.SIGTERM)
    assert (terminal.ended(), terminal.is_whole) == (128 + signal.SIGTERM, True)


def test_a_suspended_watcher_leaves_the_terminal_whole_until_it_goes_on(workshop, watch):
    terminal = watch(workshop.submit("suspended"))
    terminal.until_shown("0/12 trials")
    terminal.type(b"\x1a")
    terminal.until(lambda: os.waitpid(terminal.process.pid, os.WNOHANG | os.WUNTRACED)[0] != 0)
    terminal.until(lambda: terminal.is_whole)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until(lambda: not terminal.is_whole)
    terminal.until_shown("0/12 trials")
    terminal.type(b"\x03")
    assert (terminal.ended(), terminal.is_whole) == (130, True)


def test_a_picture_follows_the_size_of_the_terminal_and_has_no_colours_where_nobody_wants_them(workshop, watch):
    study = workshop.submit("resized")
    workshop.agent().work(limit=6)
    terminal = watch(study, rows=40, columns=120, NO_COLOR="1")
    terminal.until(lambda: len(terminal.screen) == 40 and "running" in terminal.screen[0][100:])
    terminal.resize(20, 60)
    terminal.until(lambda: len(terminal.screen) == 20 and terminal.screen[0].endswith("running"))
    assert max(map(len, terminal.screen)) <= 60
    assert any(line.startswith("keeps  ") for line in terminal.screen)
    assert not any(f"\x1b[{code}m" in terminal.written for code in ("31", "32", "33", "36", "1;32", "1;36"))


def test_a_failed_study_is_1_and_says_why(workshop, watch):
    study = workshop.submit("hopeless", n_trials=2)
    agent = workshop.agent()
    terminal = watch(study)
    terminal.until_shown("0/2 trials")
    agent.fail(agent.must_claim("baseline"), code="evaluation_failed", detail="the images are not of the model's size")
    assert (terminal.ended(), terminal.is_whole) == (1, True)
    text = "\n".join(terminal.scrollback)
    assert "failed" in terminal.scrollback[0]
    assert "the images are not of the model's size" in text


def test_a_paused_study_is_8(workshop, watch):
    study = workshop.submit("paused")
    terminal = watch(study)
    terminal.until_shown("0/12 trials")
    workshop.http.post(f"/v1/studies/{study}/pause", json={"reason": "the box moves"}).raise_for_status()
    assert (terminal.ended(), terminal.is_whole) == (8, True)
    assert "the box moves" in "\n".join(terminal.scrollback)


def test_watching_too_long_is_7(workshop, watch):
    terminal = watch(workshop.submit("endless"), "--timeout", "1")
    assert (terminal.ended(), terminal.is_whole) == (7, True)


def test_a_study_that_is_deleted_meanwhile_is_4(workshop, watch):
    study = workshop.submit("deleted")
    terminal = watch(study)
    terminal.until_shown("0/12 trials")
    terminal.process.send_signal(signal.SIGSTOP)
    workshop.http.post(f"/v1/studies/{study}/cancel").raise_for_status()
    workshop.http.delete(f"/v1/studies/{study}").raise_for_status()
    terminal.process.send_signal(signal.SIGCONT)
    assert (terminal.ended(), terminal.is_whole) == (4, True)


def test_where_the_encoding_is_a_legacy_one_everything_is_ascii(workshop, watch):
    study = workshop.submit("legacy", n_trials=3)
    workshop.agent().work(limit=2)
    terminal = watch(study, PYTHONIOENCODING="latin-1")
    terminal.until_shown("1/3 trials")
    workshop.agent().work()
    assert (terminal.ended(), terminal.is_whole) == (0, True)
    assert "macs <= 50%" in "\n".join(terminal.scrollback)
    assert terminal.written.isascii()


def test_in_a_dumb_terminal_it_tells_line_by_line(workshop, watch):
    study = workshop.submit("dumb", n_trials=2, finalists=0)
    terminal = watch(study, TERM="dumb")
    terminal.until(lambda: "0/2 trials" in terminal.written)
    workshop.agent().work()
    assert terminal.ended() == 0
    assert "2/2 trials, completed" in terminal.written
    assert "\x1b" not in terminal.written


@pytest.mark.slow
def test_a_service_that_restarts_meanwhile_is_waited_for(workshop, watch):
    study = workshop.submit("outlasting", n_trials=6)
    workshop.agent().work(limit=3)
    terminal = watch(study)
    terminal.until_shown("2/6 trials")
    workshop.local.service.kill()
    terminal.until_shown(f"no answer from {workshop.local.url} for ")
    assert any("2/6 trials" in line for line in terminal.screen)
    workshop.local.start_service()
    terminal.until_shown("and is back")
    workshop.agent().work(limit=1)
    terminal.until_shown("3/6 trials")
    workshop.agent().work()
    assert (terminal.ended(), terminal.is_whole) == (0, True)
    assert "6/6 trials" in "\n".join(terminal.scrollback)


def test_submitting_in_a_terminal_shows_the_same(workshop, terminal_of):
    words = ["submit", workshop.model, workshop.dataset, "--n-trials", "3", "--name", "seen at once"]
    terminal = terminal_of(words)
    terminal.until_shown("0/3 trials")
    assert terminal.screen[0].startswith("seen at once  sty_")
    workshop.agent().work()
    assert (terminal.ended(), terminal.is_whole) == (0, True)
    assert "3/3 trials" in "\n".join(terminal.scrollback)


def test_what_an_encoding_lacks_is_a_question_mark_in_every_command(workshop, terminal_of):
    terminal = terminal_of(["status", workshop.submit("legacy, too")], PYTHONIOENCODING="ascii")
    assert terminal.ended() == 0
    assert "macs ? " in terminal.written
