import pytest

from ranksearch.contracts.studies import Best
from ranksearch.terminal.best_ranks import best_ranks
from ranksearch.terminal.characters import ASCII, UNICODE
from tests.ranksearch import wire

CP3 = {"method": "cp3", "rank": 7}


def layer(name, dense, compressed, choice=CP3):
    costs = {"dense": {"macs": dense, "params": 1}, "compressed": {"macs": compressed, "params": 1}}
    return {"name": name, "kind": "conv2d", "choice": choice, **costs}


def drawn(layers, rows, width=80, characters=UNICODE):
    section = best_ranks(Best.model_validate(wire.best(layers=layers)), width, characters)
    assert section.least <= rows <= section.most
    return [line.plain for line in section.draw(rows)]


def test_a_layer_is_a_line_with_its_share_as_a_bar():
    made = [layer("conv", 900_000, 233_333), layer("head", 100_000, 100_000, {"method": "dense"})]
    assert drawn(made, 3) == [
        "layer  method  rank  of dense           macs  of all",
        "conv   cp3     7     ━━━───────   26%  233 k     70%",
        "head   dense         ━━━━━━━━━━  100%  100 k     30%",
    ]


def test_a_small_share_of_the_network_has_a_digit_more():
    assert drawn([layer("conv", 4_000, 1_500), layer("head", 400_000, 331_833)], 3)[1].endswith(" 0.5%")


def test_several_ranks_are_named():
    made = [layer("conv", 9, 3, {"method": "tucker2", "ranks": {"out": 32, "in": 24}})]
    assert drawn(made, 2, characters=ASCII)[1].split()[:6] == ["conv", "tucker2", "out", "32,", "in", "24"]


def test_of_more_layers_than_lines_the_dearest_are_shown_in_forward_order():
    made = [layer(f"conv{at}", 100 + (at * 37) % 200, 50) for at in range(200)]
    dearest = sorted(range(200), key=lambda at: -(100 + (at * 37) % 200))[:5]
    shown = drawn(made, 7)
    assert [line.split()[0] for line in shown[1:-1]] == [f"conv{at}" for at in sorted(dearest)]
    assert shown[-1] == f"and 195 more, of fewer macs: ranksearch best {wire.STUDY}"


@pytest.mark.parametrize("rows", range(4, 12))
def test_it_keeps_to_its_rows(rows):
    assert len(drawn([layer(f"conv{at}", 100, 50) for at in range(10)], min(rows, 11))) == min(rows, 11)


@pytest.mark.parametrize("width", [36, 60, 80])
def test_it_keeps_to_its_width(width):
    made = [layer("backbone.stages.3.blocks.17.depthwise_convolution", 123_456_789, 12_345_678)]
    shown = drawn(made, 2, width)
    assert max(map(len, shown)) <= width
    assert ("…" in shown[1], "10%" in shown[1]) == (True, True)
