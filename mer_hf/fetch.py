"""A checkpoint's files from the Hub: all of one commit, the cache's copy where the Hub does not answer.

The Hub is asked once and without retries, so that a name is refused at once where there is no network. Only
safetensors and JSON are fetched, code where it is asked for, and pickles never.
"""

import fnmatch
import json
import re
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .provenance import Note

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
