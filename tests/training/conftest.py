import numpy as np
import pytest
from accelerate.state import AcceleratorState

from mer_hf.data.flow_files import FlowMaps, write_flow_maps
from mer_hf.training.config import TrainingConfig

TINY = {"hidden_size": 12, "num_attention_heads": 3, "depths": [1, 1, 1], "hidden_dropout_prob": 0.1}


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps its settings for the life of a process; every run here brings its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Where the sets that several runs use are kept."""
    return str(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def tiny(tmp_path, drawn):
    """Makes a run of a second: twelve steps on 64 maps."""

    def make(name="run", **changes):
        settings = {
            "config": TINY, "processor": {"flow_method": "dis"}, "num_samples": 64, "validation_samples": 9,
            "num_workers": 0, "epochs": 3, "batch_size": 16, "save_steps": 5, "log_every": 4,
            "cache_dir": drawn, "generator": {"filmed": 0},
        }  # fmt: skip
        return TrainingConfig(output_dir=str(tmp_path / name), **{**settings, **changes})

    return make


def maps(subjects=5, each=6):
    """Maps whose class can be seen: one corner is bright."""
    rng = np.random.default_rng(0)
    count = subjects * each
    label = np.arange(count) % 3
    flow = rng.integers(90, 160, (count, 28, 28, 3), dtype=np.uint8)
    for i, (row, column) in enumerate([(0, 0), (0, 14), (14, 0)]):
        flow[label == i, row : row + 14, column : column + 14, :2] += 25
    return FlowMaps(
        flow=flow,
        label=label,
        subject=np.array([f"s{i // each}" for i in range(count)]),
        dataset=np.array(["a" if i // each < subjects // 2 else "b" for i in range(count)]),
    )


@pytest.fixture(scope="session")
def maps_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps.npz"
    write_flow_maps(path, maps())
    return path


@pytest.fixture
def protocol_run(tmp_path, maps_file):
    """Makes a protocol's run of seconds: five subjects, a tiny network."""

    def make(name="run", **changes):
        settings = {
            "data": f"flows:{maps_file}", "protocol": "loso", "epochs": 3, "batch_size": 8, "save_steps": 3,
            "lr": 3e-3, "config": {"hidden_size": 12, "depths": [1, 1, 1], "hidden_dropout_prob": 0.1},
            "processor": {"mosaic": "corrected", "normalization": "standardize"},
        }  # fmt: skip
        return TrainingConfig(output_dir=str(tmp_path / name), **{**settings, **changes})

    return make
