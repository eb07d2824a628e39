# Each target installs what it needs into .venv first. `make demo` needs nothing but Python >= 3.11, make and git.
PYTHON ?= python3
SEED ?= 0
RECIPE ?= bounded
SIZE ?= mini
BIN = .venv/bin
RUN = TOKENIZERS_PARALLELISM=false

.PHONY: install demo quickstart test lint bench crash lock ecosystem fuzz growth families

install: .venv/installed

# Modules are compiled here, once: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every process would do it.
# By all cores, which pip would not; a few files are of another Python's syntax, which nothing imports.
.venv/installed: pyproject.toml
	@df -Pk . | awk 'NR == 2 && $$4 < 7 * 1024 * 1024 { print "a new environment takes 6.8 GiB, " $$6 " has " \
		sprintf("%.1f", $$4 / 1024 / 1024) " GiB free: make room first" }' >&2
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --upgrade pip
	$(BIN)/pip install --quiet --no-compile --editable '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 -x '/tests/' .venv/lib || true
	touch $@

demo: install
	$(RUN) $(BIN)/python deploy/demo.py --seed $(SEED) --recipe $(RECIPE)

# The scripts as the README shows them: without flags, on the mini world.
quickstart: install
	$(RUN) $(BIN)/python finetune/train.py --model llava
	$(RUN) $(BIN)/python evaluate/eval_caption.py --model llava
	$(RUN) $(BIN)/python evaluate/eval_auto.py

# Four at a time on two cores, as tests wait for processes that they start, kill and lock out. Bytecode is written,
# since every script that a test starts would else compile the project.
test: install
	$(RUN) PYTHONDONTWRITEBYTECODE= OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry .

# Kills every step before every write (tests/crash/README.md), an hour of two cores. CI runs a sample.
crash: install
	$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m tests.crash.harness --jobs $$(nproc)

bench: install
	$(RUN) $(BIN)/python -m tests.bench.bench_train --size $(SIZE)

# The container's and conda's packages with hashes, from pyproject.toml.
lock: install
	$(BIN)/uv pip compile --quiet pyproject.toml --extra processors --extra quant --extra tables --generate-hashes \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --custom-compile-command 'make lock' \
		--output-file deploy/requirements.txt

# Exports in the hands of transformers, PEFT, lmms-eval and vLLM, each in an environment of its own below
# /tmp/efuf-ecosystem, which is kept for the next call: about 20 GB.
ecosystem: install
	$(RUN) $(BIN)/python -m tests.ecosystem.run

# Malformed input for every reader; a sample of it is among the tests.
fuzz: install
	$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.harness --inputs 10000

# Seconds and memory of every step that reads files, for 1, 4 and 16 times the input.
growth: install
	$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.bench_growth

# What `--model auto` does with every family that transformers names: tests/families/TABLE.md, in some 20 minutes of a
# core. What was done is kept: called again it goes on.
families: install
	$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m tests.families.table
