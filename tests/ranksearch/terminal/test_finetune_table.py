import pytest
from rich.console import Console

from ranksearch.contracts.finetuning import FineTune, TuningSummary
from ranksearch.terminal.finetune_table import FineTuneTable
from tests.ranksearch import wire


def lines(*finetunes, tau=None, width=100):
    found = [FineTune.model_validate(one) for one in finetunes]
    summary = TuningSummary(asked=3, ready=3, failed=0, improved=3, kendall_tau=tau)
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(FineTuneTable(found, summary))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_training_is_a_line_with_its_bar_its_curve_and_what_was_before():
    (_, line) = lines(wire.finetune("running", step=3))
    assert "3/8" in line
    assert "0.333" in line
    assert "90.00%" in line
    assert "running" in line


@pytest.mark.parametrize(
    ("members", "word"),
    [({}, "the best"), ({"chosen": False}, "better"), ({"chosen": False, "improved": False}, "no better: not taken")],
)
def test_what_came_of_it_is_said(members, word):
    assert lines(wire.finetune(**members))[1].endswith(word)


def test_a_failure_gives_its_reason_in_the_place_of_a_result():
    error = wire.problem("evaluation_not_finite", 500, detail="the loss is no number any more")
    assert "the loss is no number any more" in lines(wire.finetune("failed", step=3, error=error))[1]


def test_no_line_is_wider_than_the_terminal():
    assert max(map(len, lines(wire.finetune(), wire.finetune("running", trial=12), width=60))) <= 60


def test_what_the_proxy_was_worth_is_said_in_words():
    assert lines(wire.finetune(), tau=1.0)[-1] == (
        "Kendall’s τ 1.00: the proxy had them in the order that fine-tuning gave"
    )
