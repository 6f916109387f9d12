# Needs Linux, make and Python >= 3.11; everything else goes into .venv.
PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/.complete
NBVAL := $(PY) -m pytest --nbval-current-env --nbval-cell-timeout 1200 --timeout 1800
NOTEBOOKS := $(sort $(wildcard notebooks/[0-9][0-9]_*.ipynb))
numbered = $(wildcard $(patsubst %,notebooks/%_*.ipynb,$(1)))
numbers = $(foreach file,$(notdir $(1)),$(firstword $(subst _, ,$(file))))
# what shows stored runs alone, the same on every machine
COMPARED := $(call numbered,00 02 03 05 06 07 09 13)
OTHERS := $(filter-out $(COMPARED),$(NOTEBOOKS))
# Modules are compiled once, whatever the shell says: else every start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env reproduce figures site app test lint clean

help:
	@echo 'make reproduce   run every notebook: stored results, and what trains in minutes'
	@echo 'make figures     renew the figures of record, figures/; the other targets leave them as they are'
	@echo 'make site        build the web site, site/index.html, from what is stored; runs nothing'
	@echo 'make app         notebook 08 as a page with controls, at the address that it prints (PORT=8866)'
	@echo 'make test        run the tests, then the notebooks'
	@echo 'make lint        check style, formatting and types'
	@echo 'make env         build the environment in .venv (the targets above do it by themselves)'
	@echo 'make clean       remove .venv and caches; results and figures stay'
	@echo 'PYTHON=python3.12 chooses another interpreter'

env: $(STAMP)
	@:

# The stamp is the last thing written: an interrupted installation starts again from an empty .venv.
$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"Python >= 3.11 is needed, but $(PYTHON) is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2] or 0)'
	@test -f $@ || "$(PYTHON)" -m venv --clear .venv
	@rm -f $@
	$(PY) -m pip install --quiet -c constraints.txt uv
	$(PY) -m uv pip install --python $(PY) -c constraints.txt -b constraints.txt -e '.[all,dev]' \
	  || $(PY) -m pip install -c constraints.txt -e '.[all,dev]'  # slower, but knows pip's own configuration
	@touch $@

reproduce: env
	$(PY) -m maclcore notebooks

# Runs of one's own would be drawn, too: this is for a clone that has none. One thread gives the same
# smoke runs however many cores there are.
figures: env
	OMP_NUM_THREADS=1 MACL_FIGURES="$(CURDIR)/figures" $(PY) -m maclcore notebooks

# Nothing is executed and nothing is fetched: stored outputs, docstrings and the ledger, as pages.
site: env
	$(PY) docs/build.py site

# To this machine alone, to those who have the address with its token; no file beside the notebook is
# served. It runs anew for whoever opens it; not with progressive_rendering, which gives up after
# 90 seconds, while the first run trains for longer.
PORT ?= 8866
app: env
	$(PY) -m voila $(call numbered,08) --no-browser --Voila.ip=127.0.0.1 --port=$(PORT) --token \
	  --VoilaConfiguration.file_allowlist '(?!)'

# Every part runs, whatever became of the one before. COMPARED must give the stored outputs; the
# others depend on the machine, so their assertions do the checking; the two kinds run side by side,
# without archives, which not everybody has.
test: env
	@failed=; \
	$(PY) -m pytest -n 2 --dist worksteal -p no:nbval tests || failed="$$failed tests"; \
	said=$$(mktemp); MACL_DATA= $(NBVAL) --nbval $(COMPARED) > "$$said" 2>&1 & compared=$$!; \
	MACL_DATA= $(PY) -m maclcore notebooks --only $(call numbers,$(OTHERS)) || failed="$$failed notebooks-run"; \
	wait $$compared || failed="$$failed notebooks-compared"; cat "$$said"; rm "$$said"; \
	if [ -n "$$failed" ]; then echo "make test FAILED:$$failed"; exit 1; fi; echo "make test passed"

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build site *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
