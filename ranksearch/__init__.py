"""Compresses trained CNNs by a joint search of all layers' decomposition ranks.

What needs more than the base install is imported when it is asked for: ``import ranksearch`` is quick, and never
imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ranksearch.contracts.errors import (
    AccessError,
    BudgetInfeasible,
    ConflictError,
    DatasetError,
    DocumentError,
    EvaluationError,
    InputError,
    NotFoundError,
    OnnxError,
    RankSearchError,
    RanksError,
    UnavailableError,
    UploadError,
)

if TYPE_CHECKING:
    from ranksearch.client import Client as Client
    from ranksearch.documents import load as load
    from ranksearch.documents import load_data as load_data
    from ranksearch.documents import pack as pack
    from ranksearch.documents import pack_data as pack_data
    from ranksearch.documents import pack_image_folder as pack_image_folder
    from ranksearch.documents import pack_npz as pack_npz
    from ranksearch.documents import pack_onnx as pack_onnx
    from ranksearch.documents import pack_state_dict as pack_state_dict

    __version__: str

__all__ = [
    "AccessError",
    "BudgetInfeasible",
    "Client",
    "ConflictError",
    "DatasetError",
    "DocumentError",
    "EvaluationError",
    "InputError",
    "NotFoundError",
    "OnnxError",
    "RankSearchError",
    "RanksError",
    "UnavailableError",
    "UploadError",
    "__version__",
    "load",
    "load_data",
    "pack",
    "pack_data",
    "pack_image_folder",
    "pack_npz",
    "pack_onnx",
    "pack_state_dict",
]

_DOCUMENTS: Final = {
    "load",
    "load_data",
    "pack",
    "pack_data",
    "pack_image_folder",
    "pack_npz",
    "pack_onnx",
    "pack_state_dict",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module behind it holds
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("ranksearch")
    if name == "Client":
        return importlib.import_module("ranksearch.client").Client
    if name in _DOCUMENTS:
        return _from_documents(name)
    raise AttributeError(f"module 'ranksearch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _from_documents(name: str) -> Any:  # noqa: ANN401 - as above
    try:
        importlib.import_module("torch")
        return getattr(importlib.import_module("ranksearch.documents"), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "ranksearch":
            raise
        message = f"ranksearch.{name} needs {error.name}: pip install 'ranksearch[worker]'"
        raise ModuleNotFoundError(message, name=error.name) from error
