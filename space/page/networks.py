"""The networks in memory: one per architecture, bundled or from the Hub.

A page runs no code of a repository: a network is built from the installed classes and safetensors alone. What
the Hub has is looked at first, without a token, so that nobody reads what only the page's owner may.
"""

import fnmatch
import json
import os
import re
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import torch
from huggingface_hub import HfApi, constants, hf_hub_download, scan_cache_dir
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo

from mer_hf import loading, registry
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.loading import NEEDED, TOLD, snapshot, split_revision

from .examples import bundled_models
from .uploads import Refusal

MOST_HUB_BYTES = 200_000_000
"""A checkpoint of the Hub above this is refused before it is downloaded; the largest published one of the
four architectures has less."""
MOST_SETTINGS_BYTES = 200_000
MOST_NUMBER = 4096
"""No setting of the four comes near it; above it one picture could take all memory."""
MOST_FETCHED = 5
"""So many checkpoints of the Hub stay on the disk; the page deletes what it fetched before them."""
REMEMBERED_S = 600.0
"""So long a branch's commit is not asked for again."""

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?:@[\w./-]+)?")


DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class HubModel:
    """A checkpoint of the Hub that may be loaded.

    Attributes:
        repo_id (`str`): `owner/name`.
        commit (`str`): Full hash.
        size_bytes (`int`): Of the files that would be downloaded.
        architecture (`str`): Key of the registry.
    """

    repo_id: str
    commit: str
    size_bytes: int
    architecture: str

    @property
    def name(self) -> str:
        """`owner/name@commit`."""
        return f"{self.repo_id}@{self.commit}"


@dataclass(eq=False)
class Network:
    """A network in memory.

    Attributes:
        name (`str`): Of a bundled checkpoint, or `owner/name@commit`.
        architecture (`str`): Key of the registry.
        pipeline (`MicroExpressionPipeline`): With the network.
        lock (`threading.Lock`): Held while it is asked: relevance goes through its gradients.
    """

    name: str
    architecture: str
    pipeline: MicroExpressionPipeline
    lock: threading.Lock = field(default_factory=threading.Lock)


def choose_device(device: str = "auto") -> torch.device:
    """Where networks run.

    Args:
        device (`str`, *optional*, defaults to `"auto"`): `"auto"`, `"cpu"`, `"cuda"` or `"mps"`; auto takes
            the first accelerator that there is.

    Returns:
        `torch.device`: One that is there.

    Raises:
        ValueError: If it is another word, or not there.
    """
    there = {
        "cuda": on_zero_gpu() or torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if device not in there:
        raise ValueError(f"device {device!r} is none of {', '.join(DEVICES)}.")
    if not there[device]:
        raise ValueError(f"device {device!r} is not on this machine. Take auto or cpu.")
    return torch.device(device)


def on_zero_gpu() -> bool:
    """Whether the page runs on a Space that lends a GPU for each call."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def on_gpu(function: Callable) -> Callable:
    """The function, in ZeroGPU's process where there is one; the package `spaces` is there then.

    Its arguments and its value go through a pickle, so that they name a network and do not hold it.
    """
    if not on_zero_gpu():
        return function
    try:
        import spaces
    except ImportError:
        return function
    return spaces.GPU(function)


class Networks:
    """One network per architecture; a checkpoint replaces the one of its architecture.

    Args:
        device (`str`, *optional*, defaults to `"auto"`): As in [`choose_device`].
        most_hub_bytes (`int`, *optional*): Checkpoints of the Hub above it are refused; 0 refuses all.
    """

    def __init__(self, device: str = "auto", most_hub_bytes: int = MOST_HUB_BYTES) -> None:
        self.device = choose_device(device)
        self.most_hub_bytes = most_hub_bytes
        self._held: dict[str, Network] = {}
        self._loading = {key: threading.Lock() for key in registry.ARCHITECTURES}
        self._looked_up: OrderedDict[str, tuple[float, HubModel]] = OrderedDict()
        self._fetched: deque[HubModel] = deque()
        self._lock = threading.Lock()

    def get(self, model: str) -> Network:
        """A network, loaded if it is not the one that its architecture has in memory.

        Args:
            model (`str`): The name of a bundled checkpoint (its architecture's key for short), or
                `owner/name` or `owner/name@revision` on the Hub.

        Returns:
            [`Network`]

        Raises:
            Refusal: If it cannot be loaded, in one line.
        """
        model = f"{model}-synthetic" if model in registry.ARCHITECTURES else model
        for held in list(self._held.values()):
            if held.name == model:
                return held
        found = None if model in bundled_models() else self.look_up(model)
        name = found.name if found else model
        architecture = found.architecture if found else model.partition("-")[0]
        with self._loading[architecture]:
            held = self._held.get(architecture)
            if held is None or held.name != name:
                source = self._fetch(found) if found else loading.bundled(model)
                self._held.pop(architecture, None)  # so that there are never two of one architecture
                held = Network(name, architecture, self._load(source, name))
                self._held[architecture] = held
        return held

    def architecture(self, model: str) -> str:
        """Key of the architecture of a model that [`get`][Networks.get] takes; nothing is loaded for it."""
        if model in registry.ARCHITECTURES:
            return model
        return model.partition("-")[0] if model in bundled_models() else self.look_up(model).architecture

    def look_up(self, model: str) -> HubModel:
        """What the Hub has under a name, without its weights.

        Args:
            model (`str`): `owner/name` or `owner/name@revision`.

        Returns:
            [`HubModel`]: At one commit.

        Raises:
            Refusal: If it is no such name, or what is there may not be loaded.
        """
        if not HUB_ID.fullmatch(model or "") or ".." in model:
            raise Refusal(
                f"there is no model {(model or '')[:80]!r}: give owner/name (or owner/name@revision) of the "
                f"Hub, or one of {', '.join(bundled_models())}."
            )
        if not self.most_hub_bytes or constants.is_offline_mode():
            raise Refusal(f"{model}: this page loads no models of the Hub. Choose a bundled one.")
        at, found = self._looked_up.get(model, (-REMEMBERED_S, None))
        if time.monotonic() - at < REMEMBERED_S:
            return found
        found = look_up(model, self.most_hub_bytes)
        with self._lock:
            self._looked_up[model] = self._looked_up[found.name] = (time.monotonic(), found)
            while len(self._looked_up) > 64:
                self._looked_up.popitem(last=False)
        return found

    def _load(self, source: Path, name: str) -> MicroExpressionPipeline:
        try:
            pipeline = MicroExpressionPipeline.from_pretrained(source, device=self.device)
        except (ValueError, OSError) as error:
            said = (
                str(error).replace(str(source), name).removeprefix(f"no model could be loaded from {name}: ")
            )
            raise Refusal(f"{name} could not be loaded: {said}") from error
        pipeline.name = name
        return pipeline

    def _fetch(self, found: HubModel) -> Path:
        """The checkpoint's files; the oldest that the page fetched make room."""
        known = found in self._fetched or _is_cached(found)
        try:
            folder = snapshot(found.repo_id, found.commit)
        except ValueError as error:
            raise Refusal(f"{found.name} could not be downloaded. Try again later.") from error
        if not known:
            with self._lock:
                self._fetched.append(found)
                old = [self._fetched.popleft() for _ in range(len(self._fetched) - MOST_FETCHED)]
            for each in old:
                scan_cache_dir().delete_revisions(each.commit).execute()
        return folder


def _is_cached(found: HubModel) -> bool:
    """Whether weights of that commit lie in the cache already, so that somebody else wants them."""
    place = Path(constants.HF_HUB_CACHE) / f"models--{found.repo_id.replace('/', '--')}" / "snapshots"
    return any((place / found.commit).glob("*.safetensors"))


def look_up(model: str, most_bytes: int) -> HubModel:
    """What the Hub says of a model: which commit, how large, which architecture.

    Args:
        model (`str`): `owner/name` or `owner/name@revision`.
        most_bytes (`int`): The most that its files may have together.

    Returns:
        [`HubModel`]

    Raises:
        Refusal: If there is no such public model, it holds no safetensors, is too large, or its architecture
            is not one of the registry's.
    """
    repo_id, revision = split_revision(model)
    try:
        info = HfApi(token=False).model_info(
            repo_id, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
        files = _wanted(info)
        size = _check_files(model, files, most_bytes)
        # Not in the cache, where settings without weights would pass for the whole commit.
        with tempfile.TemporaryDirectory() as folder:
            options = {"revision": info.sha, "token": False, "cache_dir": folder}
            settings = [
                json.loads(Path(hf_hub_download(repo_id, name, **options)).read_text())
                for name in ("config.json", "preprocessor_config.json")
                if name in files
            ]
    except (httpx2.HTTPError, OSError) as error:
        raise Refusal(_why_not(error, model)) from error
    except ValueError as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(f"{model}: its config.json is damaged.") from error
    key = settings[0].get("model_type") if isinstance(settings[0], dict) else None
    if key not in registry.ARCHITECTURES:
        raise Refusal(
            f"{model} holds a model of type {str(key)[:40]!r}; this page runs "
            f"{', '.join(registry.ARCHITECTURES)}."
        )
    largest = max((abs(number) for each in settings for number in _numbers(each)), default=0)
    if not largest <= MOST_NUMBER:
        raise Refusal(
            f"{model}: its settings hold the number {largest:g}; at most {MOST_NUMBER} is taken here."
        )
    return HubModel(repo_id, info.sha, size, key)


def _wanted(info: ModelInfo) -> dict[str, int]:
    """Name -> bytes of the files that would be downloaded."""
    patterns = (*NEEDED, *TOLD)
    return {
        each.rfilename: each.size or 0
        for each in info.siblings or ()
        if "/" not in each.rfilename
        and any(fnmatch.fnmatchcase(each.rfilename, pattern) for pattern in patterns)
    }


def _check_files(model: str, files: dict[str, int], most_bytes: int) -> int:
    """All their bytes, which are few enough."""
    if "config.json" not in files:
        raise Refusal(f"{model} holds no config.json, so it is no model.")
    if not any(name.endswith(".safetensors") for name in files):
        raise Refusal(
            f"{model} holds no safetensors. Other weights can run code when read, so none are loaded."
        )
    size = sum(files.values())
    if size > most_bytes:
        raise Refusal(
            f"{model} has {size / 1e6:.0f} MB; at most {most_bytes / 1e6:.0f} MB are downloaded here."
        )
    for name, length in files.items():
        if name.endswith(".json") and name != "model.safetensors.index.json" and length > MOST_SETTINGS_BYTES:
            raise Refusal(f"{model}: its {name} has {length:,} bytes, which no settings need.")
    return size


def _numbers(value: object) -> list[float]:
    """Every number in a JSON value; the length of a list too."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return []
    if isinstance(value, int | float):
        return [value]
    each = value.values() if isinstance(value, dict) else value
    return [len(value), *(number for item in each for number in _numbers(item))]


def _why_not(error: Exception, model: str) -> str:
    if isinstance(error, GatedRepoError):
        return f"{model} is gated: its owner lets in who asks, and this page does not ask."
    if isinstance(error, RevisionNotFoundError):
        return f"{model}: the repository has no such revision."
    if isinstance(error, RepositoryNotFoundError):
        return f"the Hub has no public model {model}. Check the name."
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return f"the Hub refused {model} ({status}). Try again later, or choose a bundled one."
    return f"{model}: the Hub was not reached ({type(error).__name__}). Choose a bundled one."
