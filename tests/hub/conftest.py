"""A Hub on loopback for the client in the test's own process, and a finished run to publish."""

import contextlib

import pytest
from accelerate.state import AcceleratorState
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

from mer_hf.data.flow_files import FlowMaps, write_flow_maps
from mer_hf.hub import push as push_module
from mer_hf.training.config import TrainingConfig
from mer_hf.training.folds import run_protocol
from tests.hub.hub_server import serve
from tests.training.conftest import maps

TINY = {
    "config": {"hidden_size": 12, "depths": [1, 1, 1]},
    "processor": {"mosaic": "corrected", "normalization": "standardize", "flow_method": "dis"},
}


@pytest.fixture(autouse=True)
def client(monkeypatch, tmp_path):
    """An empty cache, a token and plain uploads; nothing of the user's."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("HF_TOKEN", "hf_local")
    disable_progress_bars()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Starts a Hub that the client asks, also after it has ended; `fail` breaks chosen requests."""

    @contextlib.contextmanager
    def start(fail=None):
        with serve(tmp_path / "hub", fail=fail) as url:
            template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            monkeypatch.setattr(constants, "ENDPOINT", url)
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            yield url

    return start


@pytest.fixture
def quick(monkeypatch):
    """Skips the clean process, the picture and ONNX, which take seconds, where something else is tested."""
    monkeypatch.setattr(push_module, "check", lambda *_: None)
    monkeypatch.setattr(push_module, "render_picture", lambda *_: "")
    monkeypatch.setattr(push_module, "missing_package", lambda: "onnx")


def run_alone(**settings):
    """Run a protocol in this process, which may have run another before."""
    AcceleratorState._reset_state(reset_partial_state=True)
    run_protocol(
        TrainingConfig(**{"protocol": "loso", "batch_size": 8, "lr": 3e-3, "baselines": "no"} | settings)
    )
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def ended(tmp_path_factory):
    """The folder of maps and a run of three subjects and two seeds; the last subject has the fewest clips."""
    folder = tmp_path_factory.mktemp("ended")
    data = maps(3, 6)
    data = FlowMaps(*(getattr(data, name)[:-2] for name in ("flow", "label", "subject", "dataset")))
    write_flow_maps(folder / "maps.npz", data)
    run_alone(
        output_dir=str(folder / "run"), data=f"flows:{folder / 'maps.npz'}", num_seeds=2, epochs=3, **TINY
    )
    return folder
