# demo: install, synthesize a small release, walk through it. test: install, run all tests.
# test-versions: install and run some tests with other versions of Python and of `datasets`.
# Each stands alone, in any order, on a machine with Python, make and PyPI.

PYTHON ?= python3
PIP := -m pip install --quiet --disable-pip-version-check
DEMO := $(CURDIR)/.demo
WINGERT2026_DATA ?= $(DEMO)/wingert2026
NAT4_DATA ?= $(DEMO)/nat4

# A Python of this version; one that pyenv has need not be chosen there.
python = $(shell for each in '' "PYENV_VERSION=$$(pyenv latest $(1) 2>/dev/null)"; do \
	env $$each python$(1) -c 'import sys; print(sys.executable)' 2>/dev/null && break; done)

.PHONY: demo test test-versions docs notebooks lint cards card fuzz clean
.DELETE_ON_ERROR:

demo: .venv/installed $(WINGERT2026_DATA) $(NAT4_DATA)
	WINGERT2026_DATA=$(WINGERT2026_DATA) NAT4_DATA=$(NAT4_DATA) \
	BUILDERS_HOME=$(DEMO)/builders HF_HOME=$(DEMO)/huggingface FIGURES=$(DEMO) \
		.venv/bin/python scripts/quickstart.py
	@echo; echo "two models fitted to one site, and scored beside the cells that were planted"
	@WINGERT2026_DATA=$(WINGERT2026_DATA) BUILDERS_HOME=$(DEMO)/builders HF_HOME=$(DEMO)/huggingface \
		.venv/bin/python scripts/train_baseline.py wingert2026 CLT028c --models linear cnn --epochs 10 \
		--device cpu --out $(DEMO)/predictions \
		$$(find $(WINGERT2026_DATA) -maxdepth 1 -name filters.npz -exec echo --filters {} \;)
	@for model in linear cnn; do echo; echo "builders score wingert2026 CLT028c $$model.parquet"; \
		WINGERT2026_DATA=$(WINGERT2026_DATA) BUILDERS_HOME=$(DEMO)/builders HF_HOME=$(DEMO)/huggingface \
		.venv/bin/builders -q score wingert2026 CLT028c $(DEMO)/predictions/$$model.parquet || exit 1; done

test: .venv/installed-test .venv-oldest/installed
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
	.venv-oldest/bin/python -m pytest $(LOADING) tests/corpus/test_builder.py

# Another `datasets`; then the oldest and the newest Python, where there are these, without torch.
test-versions: .venv-middle/installed
	.venv-middle/bin/python -m pytest $(LOADING) tests/corpus/test_builder.py
	$(call in_python,3.10,--constraint constraints-oldest.txt)
	$(call in_python,3.12,)
	$(call in_python,3.13,)

LOADING := $(addprefix tests/repository/test_,load.py pinning.py preparing.py workers.py)
READING := $(LOADING) tests/nems tests/shards tests/corpus/test_families.py tests/corpus/test_trials.py

define in_python
	if [ -z "$(call python,$(1))" ]; then echo "there is no Python $(1) here"; else \
		"$(call python,$(1))" -m venv .venv-$(1) && \
		.venv-$(1)/bin/python $(PIP) $(2) --editable . pytest pytest-xdist hypothesis && \
		.venv-$(1)/bin/python -m pytest -n 2 -k 'not torch and not loader' $(READING); fi
endef

# The documentation as a site, in site/; a broken link or name is an error.
docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet

# Run the notebooks on small synthetic releases, and keep their results in them.
notebooks: .venv/installed-test
	.venv/bin/python scripts/run_notebooks.py

lint: .venv/installed-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	.venv/bin/codespell
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff

# Whether the dataset cards follow from the builders; `make card` writes them.
cards: .venv/installed
	.venv/bin/builders card wingert2026 | diff wingert2026/README.md -
	.venv/bin/builders card nat4 | diff nat4/README.md -
	.venv/bin/builders card espejo2019 | diff espejo2019/README.md -

# A minute for each reader, guided by coverage; what is found lies in .fuzz and fails the target.
fuzz: .venv/installed-fuzz
	.venv/bin/python -m fuzz.seeds .fuzz/seeds
	for target in archive cell_list; do \
		.venv/bin/python -m fuzz.run $$target -max_total_time=60 -timeout=10 -rss_limit_mb=4096 \
			-artifact_prefix=.fuzz/$$target- .fuzz/seeds/$$target || exit 1; \
	done

card: .venv/installed
	.venv/bin/builders card wingert2026 --write
	.venv/bin/builders card nat4 --write
	.venv/bin/builders card espejo2019 --write

clean:
	rm -rf .venv .venv-* .demo .fuzz site

$(DEMO)/%: | .venv/installed
	rm -rf $@.partial
	.venv/bin/builders synthesize $* $@.partial --scale mini --driven
	mv $@.partial $@

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) --constraint constraints.txt --editable '.[torch,plots]'
	touch $@

.venv/installed-test: .venv/installed
	.venv/bin/python $(PIP) --constraint constraints.txt --editable '.[torch,plots,test]'
	touch $@

.venv/installed-docs: .venv/installed
	.venv/bin/python $(PIP) --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv/installed-fuzz: .venv/installed
	.venv/bin/python $(PIP) --constraint constraints.txt --editable '.[fuzz]'
	touch $@

.venv-middle/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-middle
	.venv-middle/bin/python $(PIP) --constraint constraints.txt --editable '.[torch]' pytest 'datasets==4.8.*'
	touch $@

.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python $(PIP) --constraint constraints-oldest.txt --editable '.[torch]' pytest
	touch $@
