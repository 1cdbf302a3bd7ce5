import io

import pytest
from rich.console import Console

from ranksearch.terminal.characters import ASCII, UNICODE, characters_of


def console(encoding):
    return Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding), force_terminal=True, legacy_windows=False)


@pytest.mark.parametrize(
    ("encoding", "characters"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), ("cp437", ASCII), ("utf-16", UNICODE)],
)
def test_what_the_encoding_lacks_is_drawn_in_ascii(monkeypatch, encoding, characters):
    monkeypatch.setenv("TERM", "xterm-256color")
    assert characters_of(console(encoding)) is characters


def test_the_linux_console_has_no_braille(monkeypatch):
    monkeypatch.setenv("TERM", "linux")
    assert characters_of(console("utf-8")) is ASCII


@pytest.mark.parametrize(
    ("share", "bar"), [(0, "...."), (0.001, "#..."), (0.5, "##.."), (0.999, "###."), (1, "####"), (0.24, "#...")]
)
def test_a_bar_is_full_only_where_everything_is_there(share, bar):
    assert ASCII.bar(share, 4) == bar
    assert len(UNICODE.bar(share, 4)) == 4


def test_words_are_spelled_in_the_letters_that_there_are():
    assert ASCII.spelled("macs ≤ 40%, 2.5× – 1 → 2 …: 語") == "macs <= 40%, 2.5x - 1 -> 2 ~: ?"
    assert UNICODE.spelled("macs ≤ 40%, 語") == "macs ≤ 40%, 語"
