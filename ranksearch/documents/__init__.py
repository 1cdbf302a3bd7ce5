"""Model documents and data set documents: the only two kinds of file that users hand to a service.

Both are safetensors files, and no pickle is ever read or written. What is named here needs torch, and is imported
when it is first asked for: ``import ranksearch.documents`` alone costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ranksearch.documents.dataset import Dataset as Dataset
    from ranksearch.documents.dataset import load_data as load_data
    from ranksearch.documents.dataset_packing import pack_data as pack_data
    from ranksearch.documents.from_onnx.packing import pack_onnx as pack_onnx
    from ranksearch.documents.image_folder import pack_image_folder as pack_image_folder
    from ranksearch.documents.loading import load as load
    from ranksearch.documents.network import DocumentNetwork as DocumentNetwork
    from ranksearch.documents.network import example_inputs as example_inputs
    from ranksearch.documents.npz import pack_npz as pack_npz
    from ranksearch.documents.packing import pack as pack
    from ranksearch.documents.packing import pack_state_dict as pack_state_dict

__all__ = [
    "Dataset",
    "DocumentNetwork",
    "example_inputs",
    "load",
    "load_data",
    "pack",
    "pack_data",
    "pack_image_folder",
    "pack_npz",
    "pack_onnx",
    "pack_state_dict",
]

_MODULES: Final = {
    "Dataset": "dataset",
    "DocumentNetwork": "network",
    "example_inputs": "network",
    "load": "loading",
    "load_data": "dataset",
    "pack": "packing",
    "pack_data": "dataset_packing",
    "pack_image_folder": "image_folder",
    "pack_npz": "npz",
    "pack_onnx": "from_onnx.packing",
    "pack_state_dict": "packing",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module behind it holds
    if name not in _MODULES:
        raise AttributeError(f"module 'ranksearch.documents' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ranksearch.documents.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
