import subprocess
import sys
from pathlib import Path

import proxy


def test_the_public_names():
    assert set(proxy.__all__) >= {
        "find_sites", "decompose", "decompose_many", "ranks_for_error", "compress", "calibrate", "score", "cost",
        "energy_ranks", "vbmf_ranks", "Factors", "Site", "Cost", "Score",
    }  # fmt: skip


def test_every_public_name_exists():
    assert all(hasattr(proxy, name) for name in proxy.__all__)


def test_the_names_are_sorted():
    classes = [name for name in proxy.__all__ if name[0].isupper()]
    assert proxy.__all__ == sorted(classes) + sorted(name for name in proxy.__all__ if name not in classes)


def test_it_is_this_checkout():
    assert Path(proxy.__file__).parents[1] == Path(__file__).parents[2]


def test_tensorly_is_imported_only_by_its_solver():
    code = "import sys, proxy; sys.exit('tensorly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
