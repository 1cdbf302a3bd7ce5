import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ranksearch
from ranksearch.contracts import errors

ROOT = Path(__file__).parents[2]
NAMES = [
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


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


def test_public_names_are_these():
    assert ranksearch.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name):
    assert getattr(ranksearch, name) is not None


def test_every_error_class_is_public():
    assert set(errors.__all__) <= set(ranksearch.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ranksearch.nonsense


def test_dir_lists_the_public_names():
    assert set(NAMES) <= set(dir(ranksearch))


def test_import_does_not_import_torch():
    assert run("import ranksearch, sys; assert 'torch' not in sys.modules").returncode == 0


def test_client_and_command_line_do_not_import_torch():
    code = "import ranksearch, ranksearch.cli, sys; ranksearch.Client; assert 'torch' not in sys.modules"
    assert run(code).returncode == 0


def test_import_alone_imports_neither_httpx_nor_pydantic():
    assert run("import ranksearch, sys; assert not {'httpx', 'pydantic'} & set(sys.modules)").returncode == 0


def test_a_missing_extra_is_named():
    done = run("import sys; sys.modules['torch'] = None\nimport ranksearch; ranksearch.pack")
    assert "ranksearch.pack needs torch: pip install 'ranksearch[worker]'" in done.stderr


@pytest.mark.parametrize("package", ["ranksearch", "proxy", "service", "worker"])
def test_packages_are_those_of_this_checkout(package):
    assert Path(importlib.import_module(package).__file__).parents[1] == ROOT
