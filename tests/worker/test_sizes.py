import pytest

from worker.sizes import bytes_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GiB", 20 * 2**30),
        ("20G", 20 * 2**30),
        ("500 MB", 500_000_000),
        ("1.5kib", 1536),
        ("1048576", 1048576),
        ("7b", 7),
        ("0", 0),
        ("2TB", 2 * 10**12),
    ],
)
def test_sizes(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e9", "20 gigs", "1.GiB", "nan"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="20GiB"):
        bytes_of(text)
