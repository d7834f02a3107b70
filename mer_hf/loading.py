"""Load a model and its processor by name: a bundled checkpoint, a folder, or a repository on the Hub.

This is the one Hub client for reading. It asks once, without retries, so that a wrong name fails at once
where there is no network. All files come from one commit, and the cache answers when the Hub is not reached.
Only safetensors, JSON and the card are fetched; Python files on request, pickles never.
"""

import fnmatch
import inspect
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import httpx2
import torch
from huggingface_hub import HfApi, constants, errors
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoModelForVideoClassification, PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import cached_file

from .registry import ARCHITECTURES
from .utils.provenance import Note, sha256_of
from .utils.settings import CHECKPOINTS, CONFIG, MOST_SETTINGS_BYTES, PROCESSOR, folder_of, read_settings_of
from .utils.untrusted import in_one_line, read_header, read_json, shown, weight_files

NEEDED = (
    "config.json",
    "preprocessor_config.json",
    "calibration.json",
    "model.safetensors.index.json",
    "*.safetensors",
)
"""Patterns of the files that an answer depends on."""
TOLD = ("README.md", "train_config.json", "report.json", "evaluation.json")
"""Files that say where the numbers of a checkpoint come from."""

LOADED_AS = {"dtype": "float32", "use_safetensors": True, "output_loading_info": True}
FLOATS = ("F16", "BF16", "F32", "F64")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy")
COMMIT = re.compile(r"[0-9a-f]{40}")
REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def split_revision(name: str) -> tuple[str, str | None]:
    """Split `owner/name@revision`; the revision is None where there is no `@`."""
    repo_id, at, revision = name.partition("@")
    return repo_id, revision if at else None


def refuse_pickles(names: Iterable[str], where: str) -> None:
    """Raise `ValueError` if `names`, the files of `where`, hold pickled weights and no safetensors."""
    names = sorted(names)
    pickles = [name for name in names if PurePosixPath(name).suffix.lower() in PICKLES]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise ValueError(
            f"{where} holds {pickles[0]} and no safetensors. Reading a pickle can run code, so it is never "
            "loaded. Ask its author for safetensors, or convert an original checkpoint with mer-hf convert."
        )


def snapshot(
    repo_id: str,
    revision: str | None = None,
    code: bool = False,
    max_bytes: int | None = None,
    *,
    patterns: tuple[str, ...] = (),
    api: HfApi | None = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Return the folder of a repository's files at one commit, in the cache of huggingface_hub.

    Args:
        repo_id (`str`): `owner/name`.
        revision (`str`, *optional*): A branch, tag or full commit hash; the main branch by default.
        code (`bool`, *optional*, defaults to `False`): Whether Python files are fetched too.
        max_bytes (`int`, *optional*): Refuse files that are larger than this together, before anything is
            downloaded. The Hub is then asked in any case: the cache alone is not enough.
        patterns (`tuple[str, ...]`, *optional*): Files to fetch in place of those of the checkpoint at the
            root. A `*` does not match a slash.
        api (`HfApi`, *optional*): Client to ask with, such as `HfApi(token=False)`.
        cache_dir (`str` or `Path`, *optional*): Folder to download to; with `max_bytes` only.

    Returns:
        `Path`: Its name is the commit.

    Raises:
        ValueError: In one line, if the Hub knows no such repository or revision, access is refused, it holds
            pickles only, it is too large, or the Hub is not reached and the files are not in the cache.
    """
    api, where = api or HfApi(), repo_id if revision is None else f"{repo_id}@{revision}"
    patterns = patterns or (*NEEDED, *TOLD, *(("*.py",) if code else ()))
    offline = constants.is_offline_mode()
    # A commit never changes, so if it is in the cache there is nothing to ask.
    cached = _cached(api, repo_id, revision, patterns) if max_bytes is None else None
    if cached and (offline or COMMIT.fullmatch(revision or "")):
        return cached
    try:
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        info = api.model_info(repo_id, revision=revision, files_metadata=True, timeout=timeout)
    except (httpx2.HTTPError, OSError) as error:
        reason = "HF_HUB_OFFLINE is set" if offline else hub_error(error, api, repo_id, revision)
        if max_bytes is not None or _refused(error):
            raise ValueError(f"{reason}.") from error
        if not cached:
            raise ValueError(
                f"{where} is not (or not completely) in the cache, and {reason}. hf cache ls shows the cache."
            ) from error
        warnings.warn(Note(f"{reason}: using {where} from the cache, {cached.name}."), stacklevel=2)
        return cached
    refuse_pickles([file.rfilename for file in info.siblings], where)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings if _matches(file.rfilename, patterns)}
    if max_bytes is not None and sum(sizes.values()) > max_bytes:
        size = sum(sizes.values()) / 1e6
        raise ValueError(f"{where} has {size:.0f} MB; at most {max_bytes / 1e6:.0f} MB are downloaded.")
    try:
        options = {"allow_patterns": list(sizes), "cache_dir": cache_dir}
        return Path(api.snapshot_download(repo_id, revision=revision, **options))
    except (httpx2.HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{where} could not be downloaded from {api.endpoint} ({type(error).__name__}: {reason}). Run "
            "the same command again: files that are downloaded already are kept."
        ) from error


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether a path matches a pattern of as many parts: folds of a run are not part of its root."""
    return any(
        fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns
    )


def _cached(api: HfApi, repo_id: str, revision: str | None, patterns: tuple[str, ...]) -> Path | None:
    """Return the copy in the cache if it is complete: a download that broke off, or one file, is not."""
    of_a_run = any("/" in pattern for pattern in patterns)
    needed = [pattern for pattern in patterns if of_a_run or pattern not in TOLD]
    options = {"allow_patterns": needed, "ignore_patterns": None if of_a_run else ["*/*"]}
    try:
        folder = Path(api.snapshot_download(repo_id, revision=revision, local_files_only=True, **options))
    except errors.LocalEntryNotFoundError:
        return None
    weights = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    return folder if of_a_run or weights else None


def _refused(error: Exception) -> bool:
    """Tell whether the Hub answered and refused; a timeout or too many requests do not count."""
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    return status is not None and 400 <= status < 500 and status not in (408, 429)


def hub_error(error: Exception, api: HfApi, repo_id: str, revision: str | None = None) -> str:
    """Return in one line, without a full stop, why the Hub gave nothing to read."""
    if isinstance(error, errors.GatedRepoError):
        return f"{api.endpoint}/{repo_id} is gated. Ask for access on its page, then run hf auth login"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{api.endpoint}/{repo_id} has no revision {revision}. Its page lists the existing ones"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"there is no model {repo_id} at {api.endpoint}, or it is private and the token may not read it. "
            "Check the name, or run hf auth login"
        )
    if _refused(error):
        message = " ".join((error.server_message or str(error)).split())[:200]
        return f"{api.endpoint} refused {repo_id} ({error.response.status_code}: {message})"
    return f"{api.endpoint} was not reached ({type(error).__name__})"


def takes_flow_maps(processor: BaseImageProcessor) -> bool:
    """Tell whether a processor accepts ready-made flow maps as `flow_maps`; the others accept faces only."""
    call = getattr(processor, "preprocess", processor)
    return "flow_maps" in inspect.signature(call).parameters


def bundled(name: str) -> Path:
    """Return the folder of a checkpoint that comes with the package.

    Args:
        name (`str`): E.g. `"htnet-synthetic"`.

    Returns:
        `Path`: A folder for `from_pretrained`.

    Raises:
        ValueError: If there is no such checkpoint.
    """
    if name not in (names := bundled_names()):
        raise ValueError(f"no bundled checkpoint is called {name!r}. Bundled: {', '.join(names)}.")
    return CHECKPOINTS / name


def bundled_names() -> list[str]:
    """List the bundled checkpoints."""
    return sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))


def load(
    name_or_path: str | Path, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Load a classifier and its processor from safetensors.

    Args:
        name_or_path (`str` or `Path`): A bundled checkpoint (`"htnet-synthetic"`, or its architecture's key
            for short), a folder, or a repository on the Hub (`"owner/name"`, `"owner/name@revision"`), looked
            for in this order.
        revision (`str`, *optional*): A branch, tag or full commit hash of a repository on the Hub.
        trust_remote_code (`bool`, *optional*, defaults to `False`): Whether code that comes with the
            checkpoint may run. It runs only for an architecture that is not one of `ARCHITECTURES`; those
            are always built from the installed classes.

    Returns:
        `tuple`: The classifier in evaluation mode, in float32, and its image processor.

    Raises:
        ValueError: In one line, if nothing is found, its architecture is not one of `ARCHITECTURES` and its
            code is absent or not trusted, its weights are pickles, or a file is damaged.
    """
    source = _locate(str(name_or_path), revision, trust_remote_code)
    try:
        refuse_pickles((path.name for path in Path(source).iterdir()), "it")
        folder = Path(source)
        key = _model_type(folder)
        if own := ARCHITECTURES.get(key):
            config, processor = read_settings(folder)
            _refuse_other_weights(folder, own.classifier_class, config)
            model, info = own.classifier_class.from_pretrained(source, config=config, **LOADED_AS)
        else:
            _refuse_unknown(folder, key, trust_remote_code)
            trusted = {"trust_remote_code": True}
            model, info = AutoModelForVideoClassification.from_pretrained(source, **LOADED_AS, **trusted)
            processor = AutoImageProcessor.from_pretrained(source, **trusted)
            _refuse_without_contract(model, processor)
        _refuse_partial(info)
        _refuse_no_numbers(model)
    except (OSError, ValueError, RuntimeError, SafetensorError, errors.StrictDataclassError) as error:
        reason = in_one_line(error).replace(f"{source}/", "").replace(source, "it")
        raise ValueError(f"no model could be loaded from {_shown(source)}: {reason}") from error
    return model.eval(), processor


def _model_type(folder: Path) -> str | None:
    """Read which architecture a checkpoint has."""
    kinds = {"model_type": str | None}
    return read_json(folder / CONFIG, kinds, most_bytes=MOST_SETTINGS_BYTES).get("model_type")


def read_settings(folder: Path) -> tuple[PreTrainedConfig, BaseImageProcessor]:
    """Read the settings of a checkpoint of one of `ARCHITECTURES`, before its weights.

    Raises:
        ValueError: In one line, if its architecture is another, or a field has another type, is out of range
            or does not fit the others.
    """
    key = _model_type(folder)
    if key not in ARCHITECTURES:
        raise ValueError(_other_type(key))
    config = read_settings_of(ARCHITECTURES[key].config_class, folder)
    processor = read_settings_of(ARCHITECTURES[key].processor_class, folder)
    if processor.size != config.image_size:
        sizes = f"size {processor.size} in {PROCESSOR}, image_size {config.image_size} in {CONFIG}"
        raise ValueError(f"{folder}: the inputs do not fit the network: {sizes}.")
    return config, processor


def _other_type(key: str | None) -> str:
    return f"it holds a model of type {shown(key)}; this package runs {', '.join(ARCHITECTURES)}."


def _refuse_other_weights(folder: Path, model_class: type[PreTrainedModel], config: PreTrainedConfig) -> None:
    """Compare the headers of weights with the network of a configuration, before either takes memory.

    transformers knows some tensors by two names, so names are compared when it has loaded them.
    """
    with torch.device("meta"):
        tensors = model_class(config).state_dict()
    network = {name: (tuple(each.shape), each.is_floating_point()) for name, each in tensors.items()}
    headers = {name: each for file in weight_files(folder) for name, each in read_header(file).items()}
    held = {name: (shape, kind in FLOATS) for name, (shape, kind) in headers.items()}
    if Counter(network.values()) != Counter(held.values()):
        missing, unexpected = network.keys() - held.keys(), held.keys() - network.keys()
        other = {name for name in network.keys() & held.keys() if network[name] != held[name]}
        _refuse_partial({"missing_keys": missing, "mismatched_keys": other, "unexpected_keys": unexpected})


def _refuse_no_numbers(model: PreTrainedModel) -> None:
    """Refuse weights that hold NaN or infinity."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not all(math.isfinite(end) for end in tensor.aminmax()):
            raise ValueError(f"its tensor {name} holds NaN or infinity: its training diverged.")


def name_of(model: PreTrainedModel) -> str:
    """Return the name that a model from [`load`] was loaded by, so that it gives the same weights again.

    It is the name of a bundled checkpoint, `owner/name@commit` for one from the Hub, or its folder.
    """
    return _shown(model.config._name_or_path)


def _shown(source: str | Path) -> str:
    path = Path(source)
    if path.parent == CHECKPOINTS:
        return path.name
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return f"{path.parent.parent.name.removeprefix('models--').replace('--', '/')}@{path.name}"
    return str(source)


def _locate(name: str, revision: str | None, code: bool) -> str:
    """Return the folder of a checkpoint: a bundled one, the named one, or the snapshot of a repository."""
    folder = folder_of(name, CHECKPOINTS)
    if name and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"the folder {name} does not hold a model: there is no config.json.")
        if revision:
            raise ValueError(f"{_shown(folder)} has no revisions: only a Hub repository (owner/name) has.")
        return str(folder)
    repo_id, named = split_revision(name)
    if not REPO_ID.fullmatch(repo_id) or named == "":  # do not ask the network for a misspelt name
        raise ValueError(
            f"there is no model {name!r}: it is not a folder, not a Hub repository (owner/name or "
            f"owner/name@revision) and not bundled. Bundled: {', '.join(bundled_names())}."
        )
    if named and revision and named != revision:
        raise ValueError(f"{name} and revision={revision} name two revisions. Give only one.")
    return str(snapshot(repo_id, named or revision, code))


def _refuse_unknown(folder: Path, key: str | None, trust_remote_code: bool) -> None:
    """Refuse a model of another type, unless it brings its own code and that is trusted."""
    classes: dict[str, str] = {}
    for name in (CONFIG, PROCESSOR):
        kinds = {"auto_map": dict[str, str] | None}
        classes |= read_json(folder / name, kinds, {}, MOST_SETTINGS_BYTES).get("auto_map") or {}
    if not {"AutoConfig", "AutoModelForVideoClassification", "AutoImageProcessor"} <= set(classes):
        raise ValueError(_other_type(key))
    if not trust_remote_code:
        raise ValueError(
            f"it brings its own code for a model of type {key!r}, which was not run. Read that code, then "
            "add --trust-remote-code (trust_remote_code=True)."
        )
    elsewhere = sorted(name for name in classes.values() if "--" in name)
    if elsewhere:
        raise ValueError(f"its code lies in another repository ({elsewhere[0]}), which no revision pins.")


def _refuse_without_contract(model: PreTrainedModel, processor: BaseImageProcessor) -> None:
    """Refuse code that loads but lacks what this package calls."""
    for owner, name in ((model, "relevance"), (processor, "to_face"), (processor, "face_geometry")):
        if not hasattr(owner, name):
            raise ValueError(f"its {type(owner).__name__} has no {name}, which this package needs.")


def _refuse_partial(info: dict) -> None:
    """Refuse weights that do not fill the network exactly: transformers would initialize missing ones."""
    for problem, what in (
        ("mismatched_keys", "has another shape or type for {} tensors of the network in config.json"),
        ("missing_keys", "lacks {} tensors of the network in config.json"),
        ("unexpected_keys", "has {} unexpected tensors"),
    ):
        names = sorted(key if isinstance(key, str) else key[0] for key in info[problem])
        if names:
            raise ValueError(f"the checkpoint {what.format(len(names))}, such as {names[0][:100]}.")


def file_beside(model: PreTrainedModel, name: str) -> str | None:
    """Return the path of another file in the folder or repository that a model was loaded from, or None."""
    source = model.config._name_or_path
    if not source:
        return None
    if os.path.lexists(local := Path(source, name)) and not local.is_file():
        raise ValueError(f"{local} is not a regular file. Replace it by the file itself.")
    problems = ("missing_entries", "connection_errors")
    options = {f"_raise_exceptions_for_{problem}": False for problem in problems}
    return cached_file(source, name, revision=getattr(model.config, "_commit_hash", None), **options)


def weights_sha256(model: PreTrainedModel) -> str | None:
    """Return the SHA-256 of the `model.safetensors` that a model was loaded from; None if never saved."""
    path = file_beside(model, "model.safetensors")
    return sha256_of(path) if path else None
