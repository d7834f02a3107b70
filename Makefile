# make demo    serve the page on http://127.0.0.1:7860 (PORT=... for another port)
# make test    runs the tests (ARGS="-k htnet" selects some); make test-slow runs those that train or start processes
# Each target creates its environment in .venv on first use: about 2 GB, a few minutes.
#   make TORCH_INDEX=https://download.pytorch.org/whl/cpu demo    takes PyTorch's smaller CPU wheels
#   make PYTHON=/path/to/python3.12 demo                          chooses the interpreter

.PHONY: help demo test test-slow lint bench checkpoints clean
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -eu -c

PORT ?= 7860
TORCH_INDEX ?=
PYTHON ?=
ARGS ?=

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

lint: $(STAMP)
	@$(PY) -m ruff check .
	$(PY) -m ruff format --check .

bench: $(STAMP)
	@$(PY) -m benchmarks $(ARGS)

# Trains the bundled checkpoints from nothing into build/, then calibrates and measures them there; -j2 trains two at a time. What was
# interrupted goes on, after `make clean` it begins anew. One alone: make build/mmnet-synthetic/model.safetensors
TRAIN := OMP_NUM_THREADS=1 $(PY) -m accelerate.commands.launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no \
	--dynamo_backend no train.py --data synthetic --resume
FACES := --seed 0 --data-seed 0 --batch-size 32 --label-smoothing 0.1 --ema-decay 0.998 --num-workers 1 --cache-dir build/faces \
	--tracked-share 0.05
NETWORKS := hsta htnet facesleuth mmnet

checkpoints: $(NETWORKS:%=build/%-synthetic/model.safetensors)
	@made="build/htnet-synthetic build/mmnet-synthetic build/hsta-synthetic build/facesleuth-synthetic"
	$(PY) -m mer_hf calibrate $$made --rounds 16
	$(PY) -m mer_hf measure $$made --clips 20

# Draws 16,000 maps once, trains five seeds and keeps the best of them on held-out synthetic maps.
build/htnet-synthetic/model.safetensors: $(STAMP)
	@for seed in 0 1 2 3 4; do
		$(TRAIN) --model htnet --seed $$seed --data-seed 0 --num-samples 16000 \
			--validation-samples 1000 --epochs 8 --batch-size 128 --augment-noise 0.9 --label-smoothing 0.1 --ema-decay 0.999 \
			--cache-dir build/maps --config hidden_size=48 'depths=[1,1,2]' hidden_dropout_prob=0.3 \
			--processor mosaic=corrected normalization=standardize use_strain=false flow_method=dis \
			'crop_centers_rc=[[8,7],[8,21],[19,8],[19,19]]' \
			'face_geometry={"size": 224, "eye_row": 0.30, "interocular_fraction": 0.45}' \
			--output-dir build/htnet-synthetic-seed$$seed
	done
	$(PY) -m benchmarks.transfer build/htnet-synthetic-seed* --keep build/htnet-synthetic

build/mmnet-synthetic/model.safetensors: $(STAMP)
	@$(TRAIN) $(FACES) --model mmnet --num-samples 12000 --validation-samples 600 --epochs 12 --augment-noise 0.15 \
		--config image_size=112 'stem_channels=[24,24]' 'hidden_sizes=[24,32,64,96]' mlp_ratio=2 \
		--processor size=112 --output-dir build/mmnet-synthetic

build/facesleuth-synthetic/model.safetensors: $(STAMP)
	@$(TRAIN) $(FACES) --model facesleuth --num-samples 6000 --validation-samples 500 --epochs 12 --augment-noise 0.15 \
		--config image_size=112 stem_channels=24 'hidden_sizes=[32,32,64,96]' 'fc_hidden_sizes=[96,48]' \
		swin_embed_dim=24 'swin_depths=[1,1,2]' 'swin_num_heads=[1,2,4]' swin_mlp_ratio=2 \
		skip_batch_norm_for_single_sample=false drop_path_rate=0.05 \
		--processor size=112 binarize_action_units=false --output-dir build/facesleuth-synthetic

build/hsta-synthetic/model.safetensors: $(STAMP)
	@$(TRAIN) $(FACES) --model hsta --num-samples 8000 --validation-samples 500 --epochs 10 --augment-noise 0.1 \
		--config image_size=112 'patch_sizes=[8,16]' 'hidden_sizes=[96,96]' 'num_attention_heads=[4,4]' \
		'depths=[[1,1],[1,1]]' num_frames=4 mlp_ratio=2 hidden_dropout_prob=0.0 drop_path_rate=0.05 \
		--processor size=112 num_frames=4 frame_sampling=uniform resize=pillow motion_gain=3.0 \
		--output-dir build/hsta-synthetic

clean:
	@rm -rf build dist .pytest_cache .ruff_cache tests/screenshots
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# An interrupted install leaves UNFINISHED and is started again; an environment of the user's own is kept.
$(STAMP): pyproject.toml constraints.txt
	@refuse() { echo "mer_hf: $$1. On Debian and Ubuntu: $(SYSTEM)" >&2; exit 1; }
	if [ -e $(UNFINISHED) ] || ! $(PY) -c '' 2>/dev/null; then
		python= seen=
		for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.11 python3.12); do
			if ! version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then continue; fi
			seen="$$seen $$candidate ($$version)"
			case $$version in 3.11|3.12) ;; *) continue ;; esac
			if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi
			seen="$$seen without venv"
		done
		if [ -z "$$python" ]; then refuse "needs Python 3.11 or 3.12 with venv, found:$${seen:- none} (choose one with make PYTHON=...)"; fi
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
