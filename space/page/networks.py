"""Networks in memory: bundled checkpoints and checkpoints from the Hub, the ones used last.

A network is built from the installed classes and safetensors only; no code from a repository is run. The Hub
is asked without a token, so that no visitor reads what only the owner of the page may read.
"""

import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import HfApi, constants
from transformers import PreTrainedConfig

from mer_hf import loading, registry
from mer_hf.inference.pipeline import MicroExpressionPipeline

from .examples import bundled_models
from .files import LEAST_FREE_BYTES, PREFIX
from .memory import Memory
from .visitors import Turns

MOST_HUB_BYTES = 40_000_000
"""Limit of a checkpoint from the Hub, as a file and as parameters in float32."""
MOST_NETWORK_BYTES = 110_000_000
"""Limit of the networks in memory; while one is loaded its file is there too, in all less than 200 MB."""
MOST_SETTINGS_BYTES = 20_000
SETTINGS = ("config.json", "preprocessor_config.json")
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(eq=False)
class Network:
    """A network in memory; whoever asks it holds `lock`, as relevance goes through its gradients."""

    name: str
    architecture: str
    pipeline: MicroExpressionPipeline
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size_bytes(self) -> int:
        """The bytes of its weights and of their copy for inference; at least a few, to bound the number."""
        return 10_000 + 2 * sum(each.nbytes for each in self.pipeline.model.state_dict().values())


def choose_device(device: str = "auto") -> torch.device:
    """Return where networks run; `auto` is the first accelerator of this machine."""
    cuda = on_zero_gpu() or torch.cuda.is_available()
    available = {"cuda": cuda, "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, is_there in available.items() if is_there)
    if not available.get(device):
        raise ValueError(f"this machine has no device {device!r}. Choose one of {', '.join(DEVICES)}.")
    return torch.device(device)


def on_zero_gpu() -> bool:
    """Tell whether the page runs on a Space that lends a GPU for each call."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def on_gpu(function: Callable) -> Callable:
    """Return the function as it is, or on ZeroGPU one that runs in the process that is lent the GPU.

    Arguments and result are pickled there, so pass the name of a network, not the network.
    """
    if not on_zero_gpu():
        return function
    import spaces

    return spaces.GPU(function)


class Networks:
    """Load networks by name and keep the ones used last.

    Args:
        device (`str`, *optional*, defaults to `"auto"`): One of `DEVICES`.
        most_hub_bytes (`int`, *optional*): Limit of a checkpoint from the Hub.

    Raises:
        ValueError: If this machine does not have the device.
    """

    def __init__(self, device: str = "auto", most_hub_bytes: int = MOST_HUB_BYTES) -> None:
        self.device = choose_device(device)
        self.most_hub_bytes = most_hub_bytes
        self.held = Memory(MOST_NETWORK_BYTES, lambda network: network.size_bytes)
        self._loading = Turns(1)

    def get(self, model: str) -> Network:
        """Return a network by the name of a bundled checkpoint, its architecture, or `owner/name@revision`.

        A branch is looked up when its network is loaded, not again while it is in memory.
        """
        model = f"{model}-synthetic" if model in registry.ARCHITECTURES else model
        return self.held.get(model, lambda: self._load(model))

    def _load(self, model: str) -> Network:
        try:
            if model in bundled_models():
                pipeline = MicroExpressionPipeline.from_pretrained(loading.bundled(model), self.device)
            else:
                pipeline = self._from_hub(model)
        except ValueError as error:
            # The sentences after the first are advice for a command line.
            raise ValueError(re.split(r"(?<=\.) (?=[A-Z])", str(error))[0]) from error
        return Network(pipeline.name, pipeline.model.config.model_type, pipeline)

    def _from_hub(self, model: str) -> MicroExpressionPipeline:
        """Load a checkpoint whose settings and size are within the limits, and keep no file of it."""
        repo_id, revision = loading.split_revision(model)
        if not loading.REPO_ID.fullmatch(repo_id) or revision == "" or ".." in model:
            known = ", ".join(bundled_models())
            raise ValueError(
                f"there is no model {model[:80]!r}: give owner/name from the Hub, or one of {known}."
            )
        if constants.is_offline_mode():
            raise ValueError(f"{model}: this page loads no models from the Hub; choose a bundled one.")
        with self._loading.turn(), TemporaryDirectory(prefix=PREFIX) as cache:
            if shutil.disk_usage(cache).free < LEAST_FREE_BYTES:
                raise ValueError(f"{model}: this page has no room for another model; choose a bundled one.")
            options = {"api": HfApi(token=False), "cache_dir": cache}
            settings = loading.snapshot(
                repo_id, revision, max_bytes=MOST_SETTINGS_BYTES, patterns=SETTINGS, **options
            )
            self.held.trim(room=2 * self._check_parameters(_settings_of(model, settings), model))
            folder = loading.snapshot(repo_id, settings.name, max_bytes=self.most_hub_bytes, **options)
            return MicroExpressionPipeline.from_pretrained(folder, self.device)

    def _check_parameters(self, config: PreTrainedConfig, model: str) -> int:
        """Return the bytes of the parameters that the settings ask for, before they take memory."""
        with torch.device("meta"):
            network = registry.ARCHITECTURES[config.model_type].classifier_class(config)
        size = 4 * sum(parameter.numel() for parameter in network.parameters())
        if size > self.most_hub_bytes:
            most = self.most_hub_bytes / 1e6
            raise ValueError(f"{model} has {size / 1e6:.0f} MB of parameters; the limit is {most:.0f} MB.")
        return size


def _settings_of(model: str, folder: Path) -> PreTrainedConfig:
    """Return the settings of a known architecture; raise `ValueError` if a value is unusual."""
    try:
        return loading.read_settings(folder)[0]
    except ValueError as error:
        reason = str(error).replace(f"{folder}/", "").replace(str(folder), "it")
        raise ValueError(f"{model}: {reason}") from error
