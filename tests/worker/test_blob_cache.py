from ranksearch.contracts.resources import Blob
from tests.worker.stand_ins import SHA, Service
from worker.blob_cache import BlobCache


def test_a_blob_is_downloaded_once(tmp_path):
    service = Service()
    cache = BlobCache(tmp_path, service)
    blob = Blob(sha256=SHA, size=5)
    assert cache.path(blob) == cache.path(blob)
    assert len(service.named("download")) == 1


def test_a_file_of_another_size_is_downloaded_again(tmp_path):
    service = Service()
    cache = BlobCache(tmp_path, service)
    blob = Blob(sha256=SHA, size=5)
    cache.path(blob).write_bytes(b"mod")
    assert cache.path(blob).read_bytes() == b"model"
