import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ranksearch.contracts.errors import UnavailableError
from ranksearch.contracts.resources import Blob
from worker.blob_cache import BlobCache


class Store:
    """Has every blob of zeros and a number; counts how often each is asked for."""

    def __init__(self):
        self.asked = []
        self.contents = {}

    def blob(self, number, size=100):
        content = bytes([number]) * size
        sha256 = hashlib.sha256(content).hexdigest()
        self.contents[sha256] = content
        return Blob(sha256=sha256, size=size)

    def download(self, sha256, path):
        self.asked.append(sha256)
        aside = path.with_name(f".{path.name}.{threading.get_ident()}.part")
        aside.write_bytes(self.contents[sha256])
        aside.replace(path)
        return path


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def cache(tmp_path, store):
    return lambda limit=1000: BlobCache(tmp_path, store, limit)


def use(cache, *blobs):
    with cache.holding(blobs) as files:
        return files


def kept(folder):
    return {path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def aged(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_a_blob_is_downloaded_once_and_whole(cache, store):
    blob = store.blob(1)
    first, second = use(cache(), blob), use(cache(), blob)
    assert first == second
    assert first[blob.sha256].read_bytes() == store.contents[blob.sha256]
    assert store.asked == [blob.sha256]


def test_a_file_of_another_size_is_downloaded_again(cache, store):
    blob = store.blob(1)
    use(cache(), blob)[blob.sha256].write_bytes(b"mod")
    assert use(cache(), blob)[blob.sha256].read_bytes() == store.contents[blob.sha256]


def test_a_blob_of_another_size_than_announced_is_refused_and_not_asked_for_for_ever(cache, store):
    blob = store.blob(1).model_copy(update={"size": 7})
    with pytest.raises(UnavailableError):
        use(cache(), blob)


def test_the_least_recently_used_goes_first(cache, store, tmp_path):
    old, older, new = store.blob(1), store.blob(2), store.blob(3)
    small = cache(250)
    files = use(small, old, older)
    aged(files[old.sha256], 10)
    aged(files[older.sha256], 20)
    use(small, new)
    assert kept(tmp_path) == {old.sha256, new.sha256}


def test_using_a_blob_makes_it_young(cache, store, tmp_path):
    first, second, third = store.blob(1), store.blob(2), store.blob(3)
    small = cache(250)
    for path in use(small, first, second).values():
        aged(path, 20)
    use(small, first)
    use(small, third)
    assert kept(tmp_path) == {first.sha256, third.sha256}


def test_what_a_job_uses_is_never_deleted_however_old(cache, store, tmp_path):
    used, other = store.blob(1), store.blob(2)
    small = cache(150)
    with small.holding([used]) as files:
        aged(files[used.sha256], 100)
        use(small, other)
        assert kept(tmp_path) == {used.sha256, other.sha256}
        use(small, store.blob(3))
        assert used.sha256 in kept(tmp_path)
    use(small, store.blob(4))
    assert used.sha256 not in kept(tmp_path)


HOLDER = """
import sys
from pathlib import Path
from ranksearch.contracts.resources import Blob
from worker.blob_cache import BlobCache
with BlobCache(Path(sys.argv[1]), None).holding([Blob(sha256=sys.argv[2], size=100)]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_another_process_uses_is_kept_until_it_dies(cache, store, tmp_path):
    blob = store.blob(1)
    aged(use(cache(), blob)[blob.sha256], 100)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), blob.sha256]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        use(cache(150), store.blob(2))
        assert blob.sha256 in kept(tmp_path)
        holder.kill()
        holder.wait()
    aged(next(tmp_path.rglob(blob.sha256)), 100)
    use(cache(150), store.blob(3))
    assert blob.sha256 not in kept(tmp_path)


def test_a_blob_larger_than_the_limit_is_had_all_the_same(cache, store):
    blob = store.blob(1, size=500)
    assert use(cache(100), blob)[blob.sha256].stat().st_size == 500


def test_many_threads_on_a_cache_that_is_too_small_all_get_what_they_ask_for(cache, store):
    blobs = [store.blob(number) for number in range(8)]
    right = []

    def work(start):
        mine = cache(300)
        for turn in range(40):
            wanted = [blobs[(start + turn) % 8], blobs[(start + 3 * turn) % 8]]
            with mine.holding({blob.sha256: blob for blob in wanted}.values()) as files:
                right.extend(path.read_bytes() == store.contents[sha256] for sha256, path in files.items())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(right)
    assert len(right) >= 6 * 40


def test_agents_that_want_the_same_blob_at_once_download_it_once(cache, store):
    blob = store.blob(1)
    began, go = threading.Event(), threading.Event()
    download = store.download

    def slow(sha256, path):
        began.set()
        go.wait(10)
        return download(sha256, path)

    store.download = slow
    threads = [threading.Thread(target=use, args=(cache(), blob)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert began.wait(10)
    go.set()
    for thread in threads:
        thread.join()
    assert store.asked == [blob.sha256]


def test_parts_of_downloads_left_by_killed_agents_are_cleaned(cache, store, tmp_path):
    blob = store.blob(1)
    left = Path(tmp_path, "ab", f".{'ab' * 32}.cafe.part")
    left.parent.mkdir()
    left.write_bytes(b"half")
    at_work = left.with_name(".other.part")
    at_work.write_bytes(b"half")
    aged(left, 7200)
    use(cache(), blob)
    assert kept(tmp_path) == {blob.sha256, at_work.name}
