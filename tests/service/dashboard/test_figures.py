from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.dashboard.figures import code_spans, duration, metric_value, parameters, percent, size, utc


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0.0 s"),
        (1.449, "1.4 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (8040, "2 h 14 min"),
        (86_399, "24 h"),
        (86_400, "1 d"),
        (200_000, "2 d 8 h"),
    ],
)
def test_durations_have_the_two_units_that_matter(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (80 << 30, "80.0 GiB"), (5 << 50, "5120.0 TiB")],
)
def test_bytes(amount, text):
    assert size(amount) == text


def test_shares_and_values():
    assert (percent(None), percent(0.331), percent(0.331, 1)) == ("–", "33%", "33.1%")
    assert (metric_value(None, "kl"), metric_value(0.91853, "accuracy"), metric_value(0.0123, "kl")) == (
        *("–", "91.85%", "0.0123"),
    )


def test_times_are_utc_whatever_zone_they_come_in():
    assert utc(datetime(2026, 1, 2, 1, 4, 5, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-01 23:04:05 UTC"
    assert utc(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02 00:00:00 UTC"


def test_commands_in_a_message_are_code_and_everything_is_escaped():
    assert code_spans("<b> run `rm <x>` & `y`") == "&lt;b&gt; run <code>rm &lt;x&gt;</code> &amp; <code>y</code>"
    assert code_spans("no command") == "no command"
    assert code_spans("it's a ` alone") == "it&#39;s a ` alone"


def test_parameters_leave_out_what_there_is_not():
    assert parameters({"state": None, "cursor": "a&b=c"}) == "cursor=a%26b%3Dc"
