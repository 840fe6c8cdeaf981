# The two commands of the README, and what takes longer.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo-output
SAMPLE := exporter/demo/sample.png
export ORT_DISABLE_TELEMETRY := 1

.PHONY: demo test lint bench demo-train demo-evaluate install clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

install: $(READY)  ## the virtual environment, pinned

demo: $(READY)  ## export the embedded model to all three targets and segment the sample picture
	rm -rf $(DEMO)
	for target in coreml tflite onnx; do \
	  $(BIN)/sam-export --target $$target --output $(DEMO) || exit 1; \
	done
	for target in coreml tflite onnx; do \
	  $(BIN)/sam-run $(DEMO)/demo-$$target-fp16 $(SAMPLE) $(SAMPLE_PROMPTS) \
	    -o $(DEMO)/overlay-$$target.png --mask $(DEMO)/mask-$$target.png || exit 1; \
	done
	@echo "Look at $(DEMO)/overlay-coreml.png, overlay-tflite.png and overlay-onnx.png."

test: $(READY)  ## the whole test suite
	$(BIN)/python -m pytest

lint: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## speed and memory as ratios; writes profiles/results/bench.md
	$(BIN)/python -m exporter.bench --write

demo-evaluate: $(READY)  ## accuracy of the embedded model; writes profiles/results/demo-accuracy.md
	$(BIN)/python -m exporter.demo.evaluate --scenes 200 --write

demo-train: $(READY)  ## train the embedded model again (about an hour on one core)
	$(BIN)/python -m exporter.demo.train --help

clean:
	rm -rf $(DEMO) build
