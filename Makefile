# make demo   see it work, from nothing
# make test   everything the tests need, and the tests, on up to four cores; TESTS=… runs some of them
# make check  lint, types, arrows
# make soak   minutes of killing workers, services and the database
# make rehearsal   docker/README.md word for word on machines made for it; as root, eleven minutes
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test soak rehearsal check wheel clean

demo: .venv/.demo
	$(BIN)/ranksearch demo $(DEMO)

test: .venv/.dev
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile $(TESTS)

soak: .venv/.dev
	$(BIN)/pytest -s -m soak tests/system

rehearsal: .venv/.dev
	$(BIN)/python -m tests.docker.rehearsal $(REHEARSAL)

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A wheel, installed alone into a clean environment: the client works there without torch and without FastAPI.
wheel: .venv/.dev
	$(BIN)/python -m build --wheel --outdir dist
	$(PYTHON) tests/wheel_check.py dist

clean:
	rm -rf .venv dist build *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ranksearch needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml
	@echo "Installing ranksearch with torch; a CUDA build of torch is several GB, once."
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch .venv/.demo $@
