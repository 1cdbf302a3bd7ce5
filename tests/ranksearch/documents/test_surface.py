import subprocess
import sys

import pytest
import torch

from ranksearch import documents
from ranksearch.documents.operators import _LISTS, aten_operators


def test_every_public_name_is_there():
    assert all(getattr(documents, name) is not None for name in documents.__all__)


@pytest.mark.parametrize("module", ["ranksearch", "ranksearch.documents"])
def test_importing_it_does_not_import_torch(module):
    program = f"import sys, {module}; print('torch' in sys.modules, 'numpy' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_torchvision_is_imported_for_registry_documents_only(forked_document):
    program = (
        "import sys; from ranksearch.documents import load; load(sys.argv[1]); print('torchvision' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, forked_document], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_this_torch_has_every_operator_of_the_list():
    listed = [name for names in _LISTS for name in names.split()]
    assert {f"aten.{name}" for name in listed} == set(aten_operators())


def test_no_operator_of_the_list_is_random():
    random = torch.Tag.nondeterministic_seeded
    allowed = {"aten.scaled_dot_product_attention.default"}  # random only with a dropout
    assert {name for name, overload in aten_operators().items() if random in overload.tags} <= allowed
