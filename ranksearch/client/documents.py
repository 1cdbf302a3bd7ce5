"""``client.models`` and ``client.datasets``: uploaded documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Generic, TypeVar

from ranksearch.client.progress import Progress, metered
from ranksearch.client.transport import Transport, segment
from ranksearch.client.uploads import Parcel
from ranksearch.client.waiting import until
from ranksearch.contracts.errors import ConflictError, RankSearchError
from ranksearch.contracts.resources import Dataset, Model, Samples

__all__ = ["Datasets", "Models"]

_LONGEST_NAME: Final = 200

Document = TypeVar("Document", bound=Model | Dataset)


class _Documents(Generic[Document]):
    def __init__(self, transport: Transport, kind: type[Document], path: str) -> None:
        self._transport = transport
        self._kind = kind
        self._path = path

    def upload(self, path: str | Path, name: str | None = None, *, progress: Progress = False) -> Document:
        """Stream a document to the service. The same file again gives the same document.

        Args:
            path: of the document.
            name: by which people know it; without one, the file's without its ending.
            progress: True for a bar on stderr, or a callable that takes the bytes done and their total.

        Raises:
            UploadError: it cannot be read, changed meanwhile, or is too large.
            InputError: it is not such a document, nor, for a model, an ONNX file.
        """
        parcel = Parcel.of(path)
        with metered(progress, parcel.path.name) as meter:
            response = self._transport.request(
                "POST",
                self._path,
                repeatable=True,
                params={"name": name or parcel.path.stem[:_LONGEST_NAME]},
                body=lambda: parcel.pieces(meter),
                headers=parcel.headers,
            )
        return self._transport.parsed(self._kind, response)

    def get(self, document: str) -> Document:
        """By its id.

        Raises:
            NotFoundError: there is none.
        """
        return self._transport.fetch(self._kind, f"{self._path}/{segment(document)}")

    def list(self) -> Iterator[Document]:
        """All of them, page by page as they are asked for."""
        return self._transport.pages(self._kind, self._path)

    def delete(self, document: str) -> None:
        """Delete one that no study needs.

        Raises:
            NotFoundError: there is none.
            ConflictError: ``in_use``; ``extra["studies"]`` are the studies that need it.
        """
        self._transport.request("DELETE", f"{self._path}/{segment(document)}", repeatable=True)


class Datasets(_Documents[Dataset]):
    """Data set documents: ``client.datasets``."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, Dataset, "/v1/datasets")

    def samples(self, dataset: str, start: int = 0, count: int = 16) -> Samples:
        """Some images of a data set, at most 100: their labels, and where the service has their pictures.

        Raises:
            NotFoundError: there is no such data set.
            DatasetError: it has no image ``start``.
        """
        path = f"{self._path}/{segment(dataset)}/samples"
        answer = self._transport.request("GET", path, repeatable=True, params={"start": start, "count": count})
        return self._transport.parsed(Samples, answer)

    def picture(self, dataset: str, index: int) -> bytes:
        """One image as a PNG file, of at most 512 pixels a side.

        Raises:
            NotFoundError: there is no such data set.
            DatasetError: it has no such image, or none that can be shown.
        """
        path = f"{self._path}/{segment(dataset)}/images/{index}"
        return self._transport.request("GET", path, repeatable=True).content


class Models(_Documents[Model]):
    """Models: ``client.models``. A model document is uploaded, or an ONNX file, which a worker makes one of."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, Model, "/v1/models")

    def wait(self, model: str, *, timeout: float | None = None, seen: Callable[[Model], object] | None = None) -> Model:
        """The model once a worker has inspected it.

        Args:
            model: its id.
            timeout: seconds; None: without end.
            seen: is shown the model as often as it is looked at.

        Raises:
            RankSearchError: the inspection failed; this is why. An :class:`OnnxError`: what the ONNX file holds.
            UnavailableError: ``wait_timeout``; ``got`` says what the inspection is waiting for.
        """
        found = until(
            lambda: self.get(model),
            lambda latest: latest.state != "inspecting",
            what=f"the inspection of model {model}",
            why_not=lambda latest: latest.waiting_for,
            timeout=timeout,
            seen=seen,
        )
        if found.state == "failed":
            if found.error is not None:
                raise RankSearchError.from_problem(found.error.model_dump(exclude_none=True))
            raise ConflictError("model_inspection_failed", f"the inspection of model {model} failed")
        return found

    def inspect(self, model: str) -> Model:
        """Have a worker inspect a model once more, such as for latencies that an older worker did not measure.

        Raises:
            NotFoundError: there is no such model.
        """
        path = f"{self._path}/{segment(model)}/inspect"
        return self._transport.parsed(Model, self._transport.request("POST", path, repeatable=True))
