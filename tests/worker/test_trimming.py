import os
import time

import pytest

from worker.trimming import touch, trim


@pytest.fixture
def file(tmp_path):
    def made(name, size, age):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (time.time() - age,) * 2)
        return path

    return made


def test_nothing_goes_while_there_is_room(tmp_path, file):
    path = file("ab/x", 100, age=10_000)
    assert trim(tmp_path, 100) == 100
    assert path.exists()


def test_the_oldest_go_until_the_rest_fits(tmp_path, file):
    paths = [file(f"ab/{age}", 100, age) for age in (30, 20, 10)]
    assert trim(tmp_path, 150) == 100
    assert [path.exists() for path in paths] == [False, False, True]


def test_a_touched_file_is_the_youngest(tmp_path, file):
    old, young = file("ab/old", 100, 50), file("cd/young", 100, 10)
    touch(old)
    trim(tmp_path, 100)
    assert old.exists()
    assert not young.exists()


def test_what_may_not_go_stays_and_the_next_one_goes(tmp_path, file):
    used, other = file("ab/used", 100, 50), file("ab/other", 100, 10)
    assert trim(tmp_path, 100, lambda path: path == used or path.unlink()) == 100
    assert used.exists()
    assert not other.exists()


def test_parts_go_when_nobody_has_written_to_them_for_an_hour(tmp_path, file):
    left, at_work = file("ab/.x.1.part", 10, 4000), file("ab/.x.2.part", 10, 100)
    trim(tmp_path, 0)
    assert not left.exists()
    assert at_work.exists()


def test_links_are_neither_followed_nor_deleted(tmp_path, file):
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = outside / "precious"
    precious.write_bytes(bytes(100))
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "link").symlink_to(precious)
    (cache / "folder").symlink_to(outside)
    assert trim(cache, 0) == 0
    assert precious.exists()


def test_a_directory_that_is_not_there_is_empty(tmp_path):
    assert trim(tmp_path / "none", 0) == 0
    touch(tmp_path / "none")
