"""A name becomes a model and its processor: a bundled checkpoint, a folder, or a repository on the Hub.

The Hub is asked once and without retries, so that a wrong name is refused at once where there is no network.
All files come from one commit; the cache serves them where the Hub does not answer. Only safetensors and JSON
are fetched, code where it is asked for, and pickles never.
"""

import fnmatch
import inspect
import json
import re
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from transformers import (
    AutoImageProcessor,
    AutoModelForVideoClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
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
TOLD = ("README.md", "train_config.json", "report.json", "evaluation.json")
"""What an answer depends on, and what says where a checkpoint's numbers come from."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
COMMIT = re.compile(r"[0-9a-f]{40}")


def split_revision(name: str) -> tuple[str, str | None]:
    """`owner/name@revision` -> its two parts; the second is None where there is no `@`."""
    repo_id, at, revision = name.partition("@")
    return repo_id, revision if at else None


def refuse_pickles(names: Iterable[str], where: str) -> None:
    """Refuse a place that holds weights as pickles only.

    Args:
        names (`Iterable[str]`): Its files.
        where (`str`): What the message calls it.

    Raises:
        ValueError: If no file is safetensors and one may be a pickle.
    """
    names = sorted(names)
    pickles = [name for name in names if PurePosixPath(name).suffix.lower() in PICKLES]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise ValueError(
            f"{where} holds {pickles[0]} and no safetensors. A pickle can run code when it is read, so it is "
            "never loaded. Ask its author for safetensors, or turn an original checkpoint by mer-hf convert."
        )


def snapshot(repo_id: str, revision: str | None = None, code: bool = False) -> Path:
    """The folder of a repository's checkpoint at one commit, in huggingface_hub's cache.

    Args:
        repo_id (`str`): `owner/name`.
        revision (`str`, *optional*): A branch, tag or full commit hash; the main branch by default.
        code (`bool`, *optional*, defaults to `False`): Whether Python files are fetched too.

    Returns:
        `Path`: Its name is the commit.

    Raises:
        ValueError: In one line, if the Hub knows no such repository or revision, access is refused, it holds
            pickles only, or the Hub is not reached and the cache does not have it.
    """
    where = repo_id if revision is None else f"{repo_id}@{revision}"
    if constants.is_offline_mode():
        return _cached(where, repo_id, revision, code, "HF_HUB_OFFLINE is set")
    if revision and COMMIT.fullmatch(revision):
        try:  # a commit never changes: what the cache has of it needs no question
            return _cached(where, repo_id, revision, code, "")
        except ValueError:
            pass
    api = HfApi()
    try:
        names = _files_on_the_hub(api, repo_id, revision)
    except (httpx2.HTTPError, OSError) as error:
        if _refused(error):
            raise ValueError(_refusal(error, api.endpoint, repo_id, where)) from error
        reason = f"{api.endpoint} was not reached ({type(error).__name__})"
        folder = _cached(where, repo_id, revision, code, reason)
        warnings.warn(Note(f"{reason}: {where} is the cache's copy, {folder.name}."), stacklevel=2)
        return folder
    refuse_pickles(names, where)
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=_chosen(names, code)))
    except (httpx2.HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{where} could not be downloaded from {api.endpoint} ({type(error).__name__}: {reason}). Run "
            "the same command again."
        ) from error


def _files_on_the_hub(api: HfApi, repo_id: str, revision: str | None) -> list[str]:
    """One request, without retries."""
    info = api.model_info(repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    return [each.rfilename for each in info.siblings]


def _chosen(names: Iterable[str], code: bool) -> list[str]:
    """The files of the checkpoint itself; those in folders, such as the folds of a run, are others'."""
    patterns = (*NEEDED, *TOLD, *(("*.py",) if code else ()))
    return [
        name
        for name in names
        if "/" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _cached(where: str, repo_id: str, revision: str | None, code: bool, reason: str) -> Path:
    """The cache's copy, if it is whole: of a download that broke off only a part is there."""
    patterns = [*NEEDED, *(("*.py",) if code else ())]
    options = {"allow_patterns": patterns, "ignore_patterns": ["*/*"], "local_files_only": True}
    lacking = None
    try:
        folder = Path(snapshot_download(repo_id, revision=revision, **options))
        if _holds_weights(folder):
            return folder
    except LocalEntryNotFoundError as error:
        lacking = error
    raise ValueError(
        f"{where} is not (or not wholly) in the cache, and {reason}. What is here: mer-hf models."
    ) from lacking


def _holds_weights(folder: Path) -> bool:
    """Whether a folder has a configuration and every shard of its weights."""
    if not (folder / "config.json").is_file():
        return False
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text())["weight_map"].values())
        return all((folder / shard).is_file() for shard in shards)
    return any(folder.glob("*.safetensors"))


def _refused(error: Exception) -> bool:
    """Whether the Hub answered, and said no."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    return status is not None and 400 <= status < 500 and status not in (408, 429)


def _refusal(error: HfHubHTTPError, endpoint: str, repo_id: str, where: str) -> str:
    if isinstance(error, GatedRepoError):
        return f"{endpoint}/{repo_id} is gated. Ask for access on its page, then run hf auth login."
    if isinstance(error, RevisionNotFoundError):
        return f"{endpoint}/{repo_id} has no revision {where.partition('@')[2]}. Its page lists those it has."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no model {repo_id} at {endpoint}, or it is private and the token may not read it. "
            "Check the name, or run hf auth login."
        )
    said = " ".join((error.server_message or str(error)).split())[:200]
    return f"{endpoint} refused {where} ({error.response.status_code}: {said})."


def takes_flow_maps(processor: BaseImageProcessor) -> bool:
    """Whether a processor takes ready-made flow maps as `flow_maps`; the others take faces only."""
    call = getattr(processor, "preprocess", processor)
    return "flow_maps" in inspect.signature(call).parameters


def bundled(name: str) -> Path:
    """Where a checkpoint lies that comes with the package.

    Args:
        name (`str`): E.g. `"htnet-synthetic"`.

    Returns:
        `Path`: A folder for `from_pretrained`.

    Raises:
        ValueError: If there is no such checkpoint.
    """
    path = CHECKPOINTS / name
    if Path(name).name != name or not (path / "config.json").is_file():
        raise ValueError(f"no bundled checkpoint is called {name!r}. Bundled: {_known()}.")
    return path


def load(
    name_or_path: str | Path, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A classifier and its processor, from safetensors; no code of a repository is run unless it is trusted.

    Args:
        name_or_path (`str` or `Path`): A bundled checkpoint (`"htnet-synthetic"`, or its architecture's key
            for short), a folder, or a repository on the Hub (`"owner/name"`, `"owner/name@revision"`), looked
            for in this order.
        revision (`str`, *optional*): A branch, tag or full commit hash of a repository on the Hub.
        trust_remote_code (`bool`, *optional*, defaults to `False`): Whether code that comes with the
            checkpoint may be run. It is, only for an architecture that is not one of `ARCHITECTURES`: those
            are built from the installed classes in any case.

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
        if key in ARCHITECTURES:
            load_model = ARCHITECTURES[key].classifier_class.from_pretrained
            load_processor = ARCHITECTURES[key].processor_class.from_pretrained
        else:
            _refuse_unknown(Path(source), config, trust_remote_code)
            trusted = {"trust_remote_code": True}
            load_model = partial(AutoModelForVideoClassification.from_pretrained, **trusted)
            load_processor = partial(AutoImageProcessor.from_pretrained, **trusted)
        model, info = load_model(
            source,
            dtype="float32",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        _refuse_partial(info)
        processor = load_processor(source)
        if key not in ARCHITECTURES:
            _refuse_without_contract(model, processor)
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # A configuration that refuses its values gives the reason in its last line, the others in the first.
        reason = (
            lines[-1].removeprefix("ValueError: ") if isinstance(error, StrictDataclassError) else lines[0]
        )
        raise ValueError(f"no model could be loaded from {_shown(source)}: {reason}") from error
    return model.eval(), processor


def name_of(model: PreTrainedModel) -> str:
    """What a model was loaded from, so that loading that name gives the same weights again.

    Args:
        model (`PreTrainedModel`): From [`load`].

    Returns:
        `str`: The name of a bundled checkpoint, `owner/name@commit` for one of the Hub, or its folder.
    """
    return _shown(model.config._name_or_path)


def _shown(source: str) -> str:
    path = Path(source)
    if path.parent == CHECKPOINTS:
        return path.name
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return f"{path.parent.parent.name.removeprefix('models--').replace('--', '/')}@{path.name}"
    return source


def _locate(name: str, revision: str | None, code: bool) -> str:
    """The folder of a checkpoint: a bundled one, one that is named, or what the Hub has."""
    is_folder = bool(name) and Path(name).is_dir()
    for bundled_name in (name, f"{name}-synthetic" if name in ARCHITECTURES else name):
        if (CHECKPOINTS / bundled_name / "config.json").is_file():
            name, is_folder = str(CHECKPOINTS / bundled_name), True
    if is_folder and not (Path(name) / "config.json").is_file():
        raise ValueError(f"the folder {name} holds no config.json, so it is no model.")
    if is_folder and revision:
        raise ValueError(f"{_shown(name)} has no revisions: only a Hub repository (owner/name) has.")
    if is_folder:
        return name
    repo_id, named = split_revision(name)
    # Without this, every slip of the pen would wait for the network to say that it knows no such name.
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo_id) or named == "":
        raise ValueError(
            f"there is no model {name!r}: it is no folder, no Hub repository (owner/name or "
            f"owner/name@revision) and not bundled. Bundled: {_known()}."
        )
    if named and revision and named != revision:
        raise ValueError(f"{name} and revision={revision} name two revisions. Leave one of them out.")
    return str(snapshot(repo_id, named or revision, code))


def _refuse_unknown(folder: Path, config: dict, trust_remote_code: bool) -> None:
    """Refuse a model of another type, unless it brings its own code and that is trusted."""
    settings = folder / "preprocessor_config.json"
    processor = json.loads(settings.read_text()) if settings.is_file() else {}
    classes = {**config.get("auto_map", {}), **processor.get("auto_map", {})}
    if not {"AutoConfig", "AutoModelForVideoClassification", "AutoImageProcessor"} <= set(classes):
        key = config.get("model_type")
        raise ValueError(f"it holds a model of type {key!r}; this package runs {', '.join(ARCHITECTURES)}.")
    if not trust_remote_code:
        raise ValueError(
            f"it brings code of its own for a model of type {config.get('model_type')!r}, which was not run. "
            "Read that code, then add --trust-remote-code (trust_remote_code=True)."
        )
    elsewhere = sorted(name for name in map(str, classes.values()) if "--" in name)
    if elsewhere:
        raise ValueError(f"its code lies in another repository ({elsewhere[0]}), which no revision pins.")


def _refuse_without_contract(model: PreTrainedModel, processor: BaseImageProcessor) -> None:
    """Refuse code that loads and cannot be asked what this package asks."""
    for owner, what in ((model, "relevance"), (processor, "to_face"), (processor, "face_geometry")):
        if not hasattr(owner, what):
            raise ValueError(f"its {type(owner).__name__} has no {what}, which this package needs.")


def _refuse_partial(info: dict) -> None:
    """Refuse weights that do not fill the network exactly: transformers would make up what is missing."""
    for problem, what in (("missing_keys", "lack"), ("mismatched_keys", "have another shape for")):
        if info[problem]:
            raise ValueError(f"its weights {what} {len(info[problem])} tensors of its config.json's network.")
    if info["unexpected_keys"]:
        raise ValueError(f"its weights hold {len(info['unexpected_keys'])} tensors that its network has not.")


def weights_sha256(model) -> str | None:
    """SHA-256 of the `model.safetensors` that a model was loaded from; None for one that was never saved."""
    source = model.config._name_or_path
    if not source:
        return None
    path = cached_file(
        source, "model.safetensors", local_files_only=True, _raise_exceptions_for_missing_entries=False
    )
    return sha256_of(path) if path else None


def file_beside(model: PreTrainedModel, name: str) -> str | None:
    """A further file of the folder or repository that a model was loaded from.

    Args:
        model (`PreTrainedModel`): From `load`.
        name (`str`): Of the file.

    Returns:
        `str` or `None`: Where it lies on this machine; None if there is none, or the model was never saved.
    """
    source = model.config._name_or_path
    if not source:
        return None
    options = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    return cached_file(source, name, revision=getattr(model.config, "_commit_hash", None), **options)


def _known() -> str:
    """The names of the bundled checkpoints, for messages."""
    return ", ".join(sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))) or "none"
