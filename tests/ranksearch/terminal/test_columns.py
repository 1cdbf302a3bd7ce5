import pytest
from rich.cells import cell_len

from ranksearch.terminal.columns import Column, Note, lines, shortened

NAMES = Column("layer", ["layer1.0.conv1", "head"], least=8, keep_end=True)
RANKS = Column("rank", ["48", "7"], right=True)
ORIGINS = Column("origin", ["search", "same error"], dispensable=2)
SECONDS = Column("seconds", ["1.5", "12.0"], right=True, dispensable=1)


def plain(width, *columns, **options):
    return [line.plain for line in lines(columns or (NAMES, RANKS, ORIGINS, SECONDS), width, **options)]


def test_a_row_is_a_line_with_its_cells_below_their_headings():
    assert plain(80) == [
        "layer           rank  origin      seconds",
        "layer1.0.conv1    48  search          1.5",
        "head               7  same error     12.0",
    ]


def test_what_can_be_shortened_is_shortened_before_anything_is_left_out():
    assert plain(38)[1] == "…r1.0.conv1    48  search          1.5"


def test_then_columns_go_the_most_dispensable_first():
    assert plain(30)[0] == "layer           rank  seconds"
    assert plain(18)[0] == "layer         rank"


@pytest.mark.parametrize("width", range(1, 60))
def test_no_line_is_ever_wider_than_there_is_room(width):
    assert max(map(cell_len, plain(width, notes={1: Note(1, "because of this and that " * 4)}))) <= width


def test_a_note_takes_the_place_of_all_columns_from_one_on():
    shown = plain(30, RANKS, ORIGINS, SECONDS, notes={0: Note(1, "the device has no memory left at all")})
    assert shown[1] == "  48  the device has no memor…"
    assert shown[2].split() == ["7", "same", "error", "12.0"]


@pytest.mark.parametrize(
    ("text", "width", "keep_end", "short"),
    [
        ("abcdef", 6, False, "abcdef"),
        ("abcdef", 4, False, "abc…"),
        ("abcdef", 4, True, "…def"),
        ("ab cdef", 4, False, "ab…"),
        ("語語語", 5, False, "語語…"),
        ("語語語", 4, True, "…語"),
        ("abc", 1, False, "…"),
        ("abc", 0, False, ""),
    ],
)
def test_a_shortened_text_says_that_it_is(text, width, keep_end, short):
    assert shortened(text, width, keep_end=keep_end) == short
    assert cell_len(short) <= max(width, 0)
