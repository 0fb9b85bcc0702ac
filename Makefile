# make demo: install and generate 64 digits | make test: install and run the tests
# make slow: run the slow tests | make lint | make docs
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow lint docs clean

demo: .venv/.installed
	$(BIN)/nanoldm sample --n 64 --out digits.png

test: .venv/.installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --durations 10

slow: .venv/.installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m slow

lint: .venv/.installed-test
	$(BIN)/ruff check .

docs: .venv/.installed-docs
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

# On Linux, pip brings torch with 3 GB of CUDA. Without a GPU, its CPU build does the same; uv knows
# where it is.
.venv/.torch:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
	    echo "no GPU: installing the CPU build of torch, if its index can be reached"; \
	    { $(BIN)/python -m pip install --quiet uv && UV_HTTP_TIMEOUT=10 UV_HTTP_RETRIES=0 \
	        $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu \
	        torch torchvision; } 2>/dev/null || echo "not reached: the usual build follows"; fi
	touch $@

.venv/.installed: pyproject.toml .venv/.torch
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-test: pyproject.toml .venv/.torch
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ .venv/.installed

.venv/.installed-docs: pyproject.toml .venv/.torch
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@ .venv/.installed

clean:
	rm -rf .venv build dist
