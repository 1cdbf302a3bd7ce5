"""Installs the newest wheel of a folder, alone, into a clean environment and uses it: ``wheel_check.py dist``."""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

EXPECTED = (
    "ranksearch/py.typed",
    "proxy/py.typed",
    "service/py.typed",
    "worker/py.typed",
    "service/storage/migrations/env.py",
    "service/dashboard/templates/base.html",
    "service/dashboard/static/app.css",
    "service/dashboard/static/vendor/htmx.min.js",
    "service/dashboard/static/vendor/htmx.LICENSE",
)
WITHOUT_EXTRAS = """
import sys
import ranksearch
assert "torch" not in sys.modules and "fastapi" not in sys.modules
try:
    ranksearch.pack
except ModuleNotFoundError as error:
    assert "ranksearch[worker]" in str(error), error
else:
    raise AssertionError("pack without torch gave no error")
client = ranksearch.Client("http://127.0.0.1:9", "no-token", patience=0)
try:
    client.studies.get("sty_none")
except ranksearch.UnavailableError as error:
    assert error.code == "service_unreachable", error
"""


def main(folder: Path) -> None:
    wheel = max(folder.glob("ranksearch-*.whl"), key=lambda path: path.stat().st_mtime)
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in EXPECTED if name not in names]
    assert not missing, f"{wheel.name} lacks {missing}"
    strangers = sorted({name.split("/")[0] for name in names} - {"ranksearch", "proxy", "service", "worker"})
    assert all(name.endswith(".dist-info") for name in strangers), f"{wheel.name} also installs {strangers}"
    with tempfile.TemporaryDirectory() as clean:
        venv.create(clean, with_pip=True)
        python = Path(clean) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, cwd=clean)
        subprocess.run([python, "-c", WITHOUT_EXTRAS], check=True, cwd=clean)
        program = Path(clean) / "bin" / "ranksearch"
        subprocess.run([program, "--help"], check=True, cwd=clean, stdout=subprocess.DEVNULL)
        status = [program, "status", "--url", "http://127.0.0.1:9", "--token", "t"]
        away = subprocess.run(status, cwd=clean, check=False)
        assert away.returncode == 3, f"`ranksearch status` without a service exits with {away.returncode}"
    print(f"{wheel.name}: installs alone, imports without torch, and says so when torch or a service is missing")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
