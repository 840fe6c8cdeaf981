# The README's two commands, and longer ones.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo-output
SAMPLE := exporter/demo/sample.png
# A generated clip with an object that leaves and comes back, and one that does not.
CLIP := 10900038
CLICKS := --object leaves --point 267,16 --object stays --point 177,171
export ORT_DISABLE_TELEMETRY := 1

.PHONY: demo test lint apps coreai-cases bench bench-apps bench-everything bench-host bench-precision bench-harness bench-runner fuzz matrix onnxsim oldest counts signals golden-vectors demo-train demo-train-proposer demo-train-memory demo-evaluate demo-clips install clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

install: $(READY)  ## the virtual environment, pinned

demo: $(READY)  ## export the embedded model to all three targets, segment the sample picture, follow an object, measure here
	$(BIN)/sam-export --target coreml --output $(DEMO) --force
	$(BIN)/sam-export --target tflite --output $(DEMO) --force
	$(BIN)/sam-export --target onnx --output $(DEMO) --force
	rm -f $(DEMO)/profiles.jsonl
	$(BIN)/sam-run $(DEMO)/demo-coreml-fp16 $(SAMPLE) --point 181,319 -o $(DEMO)/overlay-click.png
	$(BIN)/sam-run $(DEMO)/demo-tflite-fp16 $(SAMPLE) --box 255,305,525,479 -o $(DEMO)/overlay-box.png
	$(BIN)/sam-run $(DEMO)/demo-onnx-fp16 $(SAMPLE) --point 444,154 --multimask -o $(DEMO)/overlay-multimask.png
	$(BIN)/sam-run $(DEMO)/demo-onnx-fp16 $(SAMPLE) --everything --points-per-side 16 --stability-score-offset 0.2 \
		-o $(DEMO)/overlay-everything.png --coco $(DEMO)/everything.json
	$(BIN)/sam-bench $(DEMO)/demo-coreml-fp16 $(DEMO)/demo-tflite-fp16 $(DEMO)/demo-onnx-fp16 --device host \
		--runs 20 --seconds 0.5 --warmup 1 --store $(DEMO)/profiles.jsonl
	$(BIN)/sam-bench check --budget host --profile demo-tflite-fp16 --store $(DEMO)/profiles.jsonl
	$(BIN)/sam-bench report -o $(DEMO)/report.html --store $(DEMO)/profiles.jsonl
	$(BIN)/sam-export --video --target tflite --output $(DEMO) --force & tflite=$$!; \
		$(BIN)/sam-export --video --target coreml --target onnx --output $(DEMO) --force && wait $$tflite
	$(BIN)/python -m profiles.lab.demo.draw_clip $(DEMO)/clip --seed $(CLIP)
	for target in coreml tflite onnx; do $(BIN)/sam-run $(DEMO)/demo-video-$$target-fp16 $(DEMO)/clip \
		$(CLICKS) --strip $(DEMO)/strip-$$target.png || exit; done
	@echo "Look at $(DEMO)/overlay-click.png, overlay-box.png, overlay-multimask.png, overlay-everything.png, strip-onnx.png and report.html."

test: $(READY)  ## the whole test suite, on two workers; `pytest` alone runs it on one
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## speed and memory as ratios; writes profiles/results/bench.md
	$(BIN)/python -m profiles.lab.bench --write
	$(MAKE) bench-host
	$(MAKE) bench-apps

bench-everything: $(READY)  ## recall of every way to segment everything, on 100 scenes; 10 minutes, resumable (ARGS='--minutes 5'); writes profiles/results/everything.md
	test -d build/demo-onnx-fp32-everything || $(BIN)/sam-export --target onnx --precision fp32 --everything --output build
	$(BIN)/python -m profiles.lab.everything --write $(ARGS)
	$(BIN)/python -m profiles.lab.everything.decoder

bench-apps: $(READY)  ## preparing a picture and upscaling a mask in Swift and Kotlin beside Pillow and numpy; needs swift, java
	$(BIN)/python -m tests.unit.runtimes.app_speed --write $(ARGS)

signals: $(READY)  ## stop the commands at any moment and count how they end; ARGS='--times 300 --command run'
	$(BIN)/python -m tests.fakes.signals $(ARGS)

bench-host: $(READY)  ## the demo bundles measured here by sam-bench; writes profiles/results/host-demo.md
	test -d $(DEMO)/demo-onnx-fp16 || $(BIN)/sam-export --target all --output $(DEMO)
	rm -f $(DEMO)/host.jsonl
	$(BIN)/sam-bench $(DEMO)/demo-coreml-fp16 $(DEMO)/demo-tflite-fp16 $(DEMO)/demo-onnx-fp16 --device host \
		--repeats 5 --seconds 3 --store $(DEMO)/host.jsonl
	$(BIN)/sam-bench report --markdown profiles/results/host-demo.md --store $(DEMO)/host.jsonl

bench-precision: $(READY)  ## masks, sizes and times of the demo in every precision; half an hour, resumable; ARGS as for matrix
	$(BIN)/python -m profiles.lab.precision --write $(ARGS)

bench-harness: $(READY)  ## sam-bench's overhead beside the runs, on a simulated phone; needs adb
	$(BIN)/python -m tests.fakes.overhead --write profiles/results/harness-overhead.md

matrix: $(READY)  ## every variant, target and precision; hours, resumable; ARGS='--minutes 60' for a part
	$(BIN)/python -m profiles.lab.matrix --write $(ARGS)
	$(BIN)/python -m profiles.lab.matrix.counts --sizes-only

onnxsim: $(READY)  ## every variant's ONNX graphs before and after onnxsim; hours, resumable; ARGS as for matrix
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev,lab]'
	$(BIN)/python -m profiles.lab.simplify --write $(ARGS)

oldest: $(READY)  ## bundles of every family in the oldest runtimes that install; an hour, resumable; ARGS as for matrix
	$(BIN)/python -m profiles.lab.oldest --write $(ARGS)

cases: $(READY)  ## published numbers through sam-export and sam-run: ARGS='mobile_sam --target tflite --precision fp16'
	$(BIN)/python -m tests.conformance $(ARGS)

counts: $(READY)  ## count multiply-accumulates again, for --list and the README's table of variants
	$(BIN)/python -m profiles.lab.matrix.counts

golden-vectors: $(READY)  ## the host's steps as files for the tests of every language; commits say what changed
	$(BIN)/python -m runtimes.golden_vectors

apps: $(READY)  ## Swift's and Kotlin's masks beside sam-run's on bundles: ARGS='BUNDLE... --write'; needs swift, java
	$(BIN)/python -m tests.unit.runtimes.app_bundles $(ARGS)

bench-runner: $(READY)  ## the Android runner's overhead against a bare loop; after `make demo`
	$(BIN)/python -m profiles.lab.bench.runner $(DEMO)/demo-onnx-fp16 $(DEMO)/demo-tflite-fp16 \
		--write profiles/results/runner-overhead.md

coreai-cases: $(READY)  ## the published cases through Core AI's files; hours, goes on where it was; ARGS='--largest 60e9'
	$(BIN)/python -m tests.parity.core_ai_cases --write $(ARGS)

fuzz: $(READY)  ## try changed files on every reader; ARGS='--minutes 30 --only pickle --write' as needed
	$(BIN)/python -m tests.fuzz $(ARGS)

demo-evaluate: $(READY)  ## accuracy of the embedded model; writes profiles/results/demo-accuracy.md
	$(BIN)/python -m profiles.lab.demo.evaluate --scenes 200 --write

demo-train: $(READY)  ## train the embedded model again: an hour on one core; resumes where it stopped
	mkdir -p build
	$(BIN)/python -m profiles.lab.demo.train --minutes 60 --state build/demo.pt --output build/demo.safetensors --resume

demo-train-proposer: $(READY)  ## train its head that proposes points again: six minutes of a core
	$(BIN)/python -m profiles.lab.demo.train_proposer $(ARGS)

demo-train-memory: $(READY)  ## train its memory again: draws clips for 6 minutes, then 38 of a core; resumes where it stopped
	mkdir -p build
	$(BIN)/python -m profiles.lab.demo.train_memory --minutes 38 --output build/memory.safetensors $(ARGS)

demo-clips: $(READY)  ## the memory on 50 held-out clips, beside what needs none; writes profiles/results/demo-clips.md
	test -d build/demo-video-tflite-fp16 || \
		$(BIN)/sam-export --video --target onnx --target coreml --target tflite --output build
	$(BIN)/python -m profiles.lab.demo.clips --clips 50 --frames 20 --write \
		--bundles build/demo-video-onnx-fp16 build/demo-video-tflite-fp16 build/demo-video-coreml-fp16

clean:
	rm -rf $(DEMO) build
