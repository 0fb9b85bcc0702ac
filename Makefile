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

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ .venv/.installed

.venv/.installed-docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@ .venv/.installed

clean:
	rm -rf .venv build dist
