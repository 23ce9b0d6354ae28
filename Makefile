PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO = .venvs/demo
DEV = .venvs/dev
PEERS = .venvs/peers
BENCH = docs/evidence/bench
PAPER = $(DEV)/bin/residua reproduce all --first-seed 100 --out docs/evidence/paper --markdown docs/evidence.md

.PHONY: demo test test-browser lint evidence-circles evidence-digits evidence-mnist evidence-prune evidence-criteria evidence-cifar10 evidence-transformers evidence evidence-pages studies bench benchmarks benchmarks-page picture clean

demo: $(DEMO)/ready  ## train the three networks on handwritten digits and show them side by side
	@test ! -e demo || (to=demo-$$(date +%Y%m%d-%H%M%S); mv demo $$to; echo "kept the earlier demo as $$to")
	$(DEMO)/bin/residua demo --out demo

test: $(DEV)/ready  ## the whole test suite, in two processes
	$(DEV)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-browser: $(DEV)/ready  ## the report page in Debian's chromium; without it an error, where `make test` skips
	RESIDUA_BROWSER=required $(DEV)/bin/python -m pytest --numprocesses 2 --dist loadfile tests/test_browser*.py

lint: $(DEV)/ready  ## ruff and mypy
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

EVIDENCE = circles digits mnist prune criteria cifar10 transformers
$(EVIDENCE:%=evidence-%): evidence-%: $(DEV)/ready  ## repeat a study, resumable
	$(DEV)/bin/python -m residua.studies.$*

evidence: $(DEV)/ready  ## verdicts on the paper's claims: hours, resumable; writes docs/evidence.md
	$(PAPER)

evidence-pages: $(DEV)/ready  ## write docs/evidence.md and its page from the stored results alone
	$(PAPER) --pages

studies: $(DEV)/ready  ## write docs/studies.md from the stored results
	$(DEV)/bin/python -m residua.studies.evidence

bench: $(DEV)/ready  ## costs of statistics, all streaming measures and dynamics, the search against Adam, latency of cut networks; about 15 minutes
	$(DEV)/bin/python benchmarks/statistics_cost.py
	$(DEV)/bin/python benchmarks/streaming_cost.py
	$(DEV)/bin/python benchmarks/dynamics_cost.py
	$(DEV)/bin/python benchmarks/fixed_points.py
	$(DEV)/bin/python benchmarks/cut_latency.py
	$(DEV)/bin/python benchmarks/adaptive_time.py
	$(DEV)/bin/python benchmarks/report_cost.py

benchmarks: $(DEV)/ready $(PEERS)/ready  ## residua beside other methods and tools: hours, resumable; writes docs/benchmarks.md
	$(DEV)/bin/residua bench depth --threads 1 --seeds 5 --out $(BENCH)/depth
	$(DEV)/bin/residua bench adaptive --threads 1 --seeds 5 --out $(BENCH)/adaptive
	rm -rf $(BENCH)/trace $(BENCH)/dynamics
	$(PEERS)/bin/residua bench trace --threads 1 --out $(BENCH)/trace
	$(PEERS)/bin/residua bench dynamics --threads 1 --out $(BENCH)/dynamics
	$(MAKE) benchmarks-page

benchmarks-page: $(DEV)/ready  ## write docs/benchmarks.md from the stored results
	$(DEV)/bin/residua bench page $(BENCH) --out docs/benchmarks.md

picture: demo $(DEV)/ready  ## the pictures of the docs, from the demo's page; needs chromium
	$(DEV)/bin/python docs/picture.py demo/report.html docs

$(DEMO)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python $(PIP) --editable '.[train,report]'
	touch $@

$(DEV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(PIP) --editable '.[all,dev]'
	touch $@

$(PEERS)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python $(PIP) --editable '.[all,bench]'
	touch $@

clean:
	rm -rf .venvs
