# make demo    serve the page on http://127.0.0.1:7860 (PORT=... for another port)
# make test    runs the tests (ARGS="-k htnet" selects some); make test-slow runs those that train or start processes
# make bench   measures speed and accuracy and writes docs/speed.md (ARGS="floors bulk" selects some)
# make audit   compares the tested versions of all libraries with the published faults (needs the network)
# make dist    builds the wheel and the source archive into dist/ (VERSION=... refuses another one)
# make docs    builds the documentation into build/site/
# make web     builds the page without a server into build/web/ (needs Node 20 and npm)
# make fuzz    gives malformed input to every door; the counts go to benchmarks/results (ARGS="--only videos" selects some)
# Each target creates its environment in .venv on first use: about 2 GB, a few minutes.
#   make TORCH_INDEX=https://download.pytorch.org/whl/cpu demo    takes PyTorch's smaller CPU wheels
#   make PYTHON=/path/to/python3.13 demo                          chooses the interpreter

.PHONY: help demo test test-slow fuzz audit dist docs web space lint bench leaderboard checkpoints clean
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -eu -c

PORT ?= 7860
TORCH_INDEX ?=
PYTHON ?=
ARGS ?=
VERSION ?=

PY := .venv/bin/python
STAMP := .venv/.installed
UNFINISHED := .venv/.unfinished
SYSTEM := sudo apt-get install python3-venv make libgl1 libglib2.0-0

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

demo: $(STAMP)
	@GRADIO_SERVER_PORT=$(PORT) $(PY) space/app.py

test: $(STAMP)
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow" -n logical --maxprocesses 8 --dist worksteal $(ARGS)

test-slow: $(STAMP)
	@$(PY) -m pytest -m slow $(ARGS)

fuzz: $(STAMP)
	@$(PY) -m tests.fuzz $(ARGS)

RELEASE := .venv/.release
$(RELEASE): $(STAMP)
	@$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[release]"
	touch $@

audit: $(RELEASE)
	@$(PY) -m pip_audit --strict --requirement constraints.txt --no-deps --disable-pip

dist: $(RELEASE)
	@found=$$($(PY) -c 'import mer_hf; print(mer_hf.__version__)')
	if [ "$(VERSION)" ] && [ "$(VERSION)" != "$$found" ]; then
		echo "mer_hf: the tag says version $(VERSION), the package $$found" >&2
		exit 1
	fi
	rm -rf dist
	$(PY) -m build
	$(PY) -m twine check --strict dist/*

docs: $(RELEASE)
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	echo "build/site/index.html"

# The page without a server: HTNet, its settings and the face models beside the bundled code.
web: $(STAMP)
	@if ! command -v npm >/dev/null; then echo "mer_hf: make web needs Node 20 and npm, which are missing" >&2; exit 1; fi
	rm -rf build/web build/web-htnet
	mkdir -p build/web
	$(PY) -m mer_hf export htnet --onnx build/web-htnet
	cp build/web-htnet/model.onnx build/web/network.onnx
	cp mer_hf/face/face_landmarker.task build/web
	$(PY) -m zipfile -e build/web/face_landmarker.task build/web
	rm build/web/face_landmarks_detector.tflite build/web/face_blendshapes.tflite build/web/geometry_pipeline_metadata_landmarks.binarypb
	$(PY) web/settings.py build/web-htnet build/web/settings.json
	npm ci --prefix web --ignore-scripts --no-audit --no-fund --loglevel error >/dev/null
	node web/build.mjs build/web
	echo "build/web/index.html: serve the folder, for example with python -m http.server --directory build/web"

space: $(STAMP)
	@$(PY) -m mer_hf deploy-space "$${SPACE:?give SPACE=owner/name}"

lint: $(STAMP)
	@$(PY) -m ruff check .
	$(PY) -m ruff format --check .

bench: $(STAMP)
	@$(PY) -m benchmarks $(ARGS)

# Measures every row of docs/leaderboard.md and writes the page.
leaderboard: $(STAMP)
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.leaderboard $(ARGS)

# Trains the bundled checkpoints into build/ by their recipes (mer_hf/training/recipes), then calibrates and measures them there. -j2 trains
# two at a time; an interrupted run is resumed, `make clean` starts over. One alone: make build/mmnet-synthetic/model.safetensors
TRAIN := OMP_NUM_THREADS=1 $(PY) -m accelerate.commands.launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no \
	--dynamo_backend no train.py --resume --cache-dir build/drawn
NETWORKS := hsta htnet facesleuth mmnet
BUILT := $(NETWORKS:%=build/%-synthetic)

checkpoints: $(BUILT:%=%/model.safetensors)
	@$(PY) -m mer_hf calibrate $(BUILT) --rounds 16
	$(PY) -m mer_hf measure $(BUILT) --clips 20

# HTNet trains in minutes: five seeds on the same maps, of which the best on held-out synthetic maps is kept.
build/htnet-synthetic/model.safetensors: $(STAMP)
	@for seed in 0 1 2 3 4; do
		$(TRAIN) --recipe htnet-synthetic --seed $$seed --output-dir build/htnet-synthetic-seed$$seed
	done
	$(PY) -m benchmarks.transfer build/htnet-synthetic-seed* --keep build/htnet-synthetic

# HSTA learns from heads that are still, then goes on with heads that move.
build/hsta-synthetic-first/model.safetensors: $(STAMP)
	@$(TRAIN) --recipe hsta-synthetic-first --output-dir build/hsta-synthetic-first

build/hsta-synthetic/model.safetensors: build/hsta-synthetic-first/model.safetensors
	@$(TRAIN) --recipe hsta-synthetic --output-dir build/hsta-synthetic

build/%-synthetic/model.safetensors: $(STAMP)
	@$(TRAIN) --recipe $*-synthetic --output-dir build/$*-synthetic

# The estimate of action units; it goes beside mer_hf/face/action_units.py. FaceSleuth takes its answers, in training too.
build/action_units.safetensors: $(STAMP)
	@mkdir -p build
	$(PY) -m mer_hf.training.unit_estimator $@

clean:
	@rm -rf build dist .pytest_cache .ruff_cache tests/screenshots
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# An interrupted install leaves UNFINISHED and is started again; an environment of the user's own is kept.
$(STAMP): pyproject.toml constraints.txt
	@refuse() { echo "mer_hf: $$1. On Debian and Ubuntu: $(SYSTEM)" >&2; exit 1; }
	if [ -e $(UNFINISHED) ] || ! $(PY) -c '' 2>/dev/null; then
		python= seen=
		for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.14 python3.12 python3.11); do
			if ! version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then continue; fi
			seen="$$seen $$candidate ($$version)"
			case $$version in 3.11|3.12|3.13|3.14) ;; *) continue ;; esac
			if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi
			seen="$$seen without venv"
		done
		if [ -z "$$python" ]; then refuse "needs Python 3.11 to 3.14 with venv, found:$${seen:- none} (choose one with make PYTHON=...)"; fi
		if [ "$$(uname)" = Linux ]; then
			for library in libGL.so.1 libglib-2.0.so.0; do
				"$$python" -c "import ctypes; ctypes.CDLL('$$library')" 2>/dev/null || refuse "OpenCV needs $$library, which is missing"
			done
		fi
		rm -rf .venv/bin .venv
		mkdir .venv
		touch $(UNFINISHED)
		"$$python" -m venv .venv || refuse "$$python cannot make an environment in .venv"
	fi
	if [ -e $@ ]; then mv $@ $(UNFINISHED); fi
	echo "Installing into .venv: about 2 GB, a few minutes" >&2
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
		--constraint constraints.txt --editable ".[train,space,dev]"
	reason=$$($(PY) -c 'import cv2' 2>&1 | tail -1)
	if [ -n "$$reason" ]; then refuse "OpenCV cannot be imported: $$reason"; fi
	rm -f $(UNFINISHED)
	touch $@
