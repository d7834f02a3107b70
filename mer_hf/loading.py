"""Load a model and its processor by name: a bundled checkpoint, a folder, or a repository on the Hub.

This is the one Hub client for reading. It asks once, without retries, so that a wrong name fails at once
where there is no network. All files come from one commit, and the cache answers when the Hub is not reached.
Only safetensors, JSON and the card are fetched; Python files on request, pickles never.
"""

import fnmatch
import inspect
import json
import re
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, constants, errors
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoModelForVideoClassification, PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import cached_file

from .registry import ARCHITECTURES
from .utils.provenance import Note, sha256_of

CHECKPOINTS = Path(__file__).parent / "checkpoints"

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
    path = CHECKPOINTS / name
    if Path(name).name != name or not (path / "config.json").is_file():
        raise ValueError(f"no bundled checkpoint is called {name!r}. Bundled: {', '.join(bundled_names())}.")
    return path


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
        config, _ = PreTrainedConfig.get_config_dict(source)
        key = config.get("model_type")
        if own := ARCHITECTURES.get(key):
            model_class, processor_class, trusted = own.classifier_class, own.processor_class, {}
        else:
            _refuse_unknown(Path(source), config, trust_remote_code)
            model_class, processor_class = AutoModelForVideoClassification, AutoImageProcessor
            trusted = {"trust_remote_code": True}
        options = {"output_loading_info": True, "ignore_mismatched_sizes": True, **trusted}
        model, info = model_class.from_pretrained(source, dtype="float32", use_safetensors=True, **options)
        _refuse_partial(info)
        processor = processor_class.from_pretrained(source, **trusted)
        if not own:
            _refuse_without_contract(model, processor)
    except (OSError, ValueError, RuntimeError, SafetensorError, errors.StrictDataclassError) as error:
        raise ValueError(f"no model could be loaded from {_shown(source)}: {_reason(error)}") from error
    return model.eval(), processor


def _reason(error: Exception) -> str:
    """Return the line of an error that says why: a refused configuration says it last, others first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said_last = isinstance(error, errors.StrictDataclassError)
    return lines[-1].removeprefix("ValueError: ") if said_last else lines[0]


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
    shipped = (CHECKPOINTS / name, CHECKPOINTS / f"{name}-synthetic")
    folder = next((path for path in shipped if (path / "config.json").is_file()), Path(name))
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


def _refuse_unknown(folder: Path, config: dict, trust_remote_code: bool) -> None:
    """Refuse a model of another type, unless it brings its own code and that is trusted."""
    settings = folder / "preprocessor_config.json"
    processor = json.loads(settings.read_text()) if settings.is_file() else {}
    classes = {**config.get("auto_map", {}), **processor.get("auto_map", {})}
    key = config.get("model_type")
    if not {"AutoConfig", "AutoModelForVideoClassification", "AutoImageProcessor"} <= set(classes):
        raise ValueError(f"it holds a model of type {key!r}; this package runs {', '.join(ARCHITECTURES)}.")
    if not trust_remote_code:
        raise ValueError(
            f"it brings its own code for a model of type {key!r}, which was not run. Read that code, then "
            "add --trust-remote-code (trust_remote_code=True)."
        )
    elsewhere = sorted(name for name in map(str, classes.values()) if "--" in name)
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
        ("missing_keys", "lacks {} tensors of the network in config.json"),
        ("mismatched_keys", "has another shape for {} tensors of the network in config.json"),
        ("unexpected_keys", "has {} unexpected tensors"),
    ):
        names = sorted(key if isinstance(key, str) else key[0] for key in info[problem])
        if names:
            raise ValueError(f"the checkpoint {what.format(len(names))}, such as {names[0]}.")


def file_beside(model: PreTrainedModel, name: str) -> str | None:
    """Return the path of another file in the folder or repository that a model was loaded from, or None."""
    source = model.config._name_or_path
    if not source:
        return None
    problems = ("missing_entries", "connection_errors")
    options = {f"_raise_exceptions_for_{problem}": False for problem in problems}
    return cached_file(source, name, revision=getattr(model.config, "_commit_hash", None), **options)


def weights_sha256(model: PreTrainedModel) -> str | None:
    """Return the SHA-256 of the `model.safetensors` that a model was loaded from; None if never saved."""
    path = file_beside(model, "model.safetensors")
    return sha256_of(path) if path else None
