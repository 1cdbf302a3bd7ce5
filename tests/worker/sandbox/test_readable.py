import sys
from pathlib import Path

from worker.sandbox.readable import device_files, listed_paths, readable_paths

ROOT = Path(__file__).parents[3]


def test_python_and_its_libraries_are_read():
    paths = readable_paths(Path("/home/somebody"))
    assert Path(sys.prefix) in paths
    assert Path(sys.base_prefix) in paths


def test_of_a_checkout_only_the_packages_are_read_and_the_names_listed():
    paths = readable_paths(Path("/home/somebody"))
    assert ROOT not in paths
    assert {ROOT / "worker", ROOT / "proxy", ROOT / "ranksearch"} <= set(paths)
    assert ROOT in listed_paths()


def test_what_would_open_the_home_directory_is_left_out(tmp_path, monkeypatch):
    home = tmp_path / "homes" / "me"
    modules = home / "modules"
    modules.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(home), str(tmp_path), "/", str(modules)])
    paths = readable_paths(home)
    assert modules in paths
    assert not {home, tmp_path, Path("/")} & set(paths)


def test_a_cpu_needs_no_device_but_the_plain_ones():
    assert Path("/dev/null") in device_files("cpu")
    assert not [path for path in device_files("cpu") if path.name.startswith(("nvidia", "dri", "kfd"))]
