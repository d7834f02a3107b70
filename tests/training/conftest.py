import pytest
from accelerate.state import AcceleratorState

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
            "cache_dir": drawn,
        }  # fmt: skip
        return TrainingConfig(output_dir=str(tmp_path / name), **{**settings, **changes})

    return make
