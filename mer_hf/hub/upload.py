"""Publish a folder on the Hub in one commit: either all of it is there, or nothing has changed."""

import contextlib
import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard, constants
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.hf_api import RepoFile

from mer_hf.loading import REPO_ID
from mer_hf.utils.untrusted import in_one_line

TAG = re.compile(r"\w[\w.-]*")


def files_of(folder: Path) -> dict[str, Path]:
    """Map the path in the repository to the file, for all files of a folder."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def plan(folder: Path, target: str, details: str) -> str:
    """Say what would be uploaded: names and sizes in bytes, and the card or other details."""
    sizes = {name: path.stat().st_size for name, path in files_of(folder).items()}
    lines = [f"{size:12,}  {name}" for name, size in sizes.items()]
    total = f"{sum(sizes.values()):12,}  in all"
    return "\n".join([f"to {target}:", *lines, total, "", details.rstrip()])


def check_name(repo_id: str, tag: str | None = None) -> None:
    """Raise `ValueError` if a repository id is not `owner/name`, or a tag cannot be one."""
    if not REPO_ID.fullmatch(repo_id):
        raise ValueError(f"invalid repository id {repo_id!r}: expected owner/name.")
    if tag is not None and (not TAG.fullmatch(tag) or ".." in tag):
        raise ValueError(f"invalid tag {tag!r}: expected letters, digits, points and dashes, such as v1.0.")


def publish(folder: Path, repo_id: str, card: RepoCard, message: str, *, dry_run: bool, **options) -> str:
    """Upload a folder with its card, as [`upload`] does; with `dry_run` only say what would be uploaded."""
    (folder / "README.md").write_text(str(card))
    if dry_run:
        return plan(folder, repo_id, str(card))
    with one_line_errors(repo_id):
        try:
            card.validate()  # by the Hub, before anything is sent
        except ValueError as error:
            raise ValueError(f"the Hub refuses the card's metadata: {in_one_line(error)}") from error
    return upload(folder, repo_id, message, **options)


def upload(
    folder: Path,
    repo_id: str,
    message: str,
    *,
    repo_type: str = "model",
    private: bool = False,
    revision: str | None = None,
    remove: Sequence[str] = (),
) -> str:
    """Upload a folder in one commit, create the repository if necessary, and return the commit's address.

    The commit also removes files that match the patterns in `remove` and are not in the folder. `revision` is
    a tag for it. `HfApi.upload_folder` is not used: with xet it splits a large folder into several commits.
    """
    api, files = HfApi(), files_of(folder)
    sdk = "gradio" if repo_type == "space" else None
    with one_line_errors(repo_id):
        api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk)
        there = api.list_repo_files(repo_id, repo_type=repo_type)
        old = {name for pattern in remove for name in fnmatch.filter(there, pattern)} - set(files)
        operations = [CommitOperationAdd(name, path) for name, path in files.items()]
        operations += [CommitOperationDelete(name, is_folder=False) for name in sorted(old)]
        info = api.create_commit(repo_id, operations, repo_type=repo_type, commit_message=message)
        if revision:
            api.create_tag(repo_id, tag=revision, revision=info.oid, repo_type=repo_type, exist_ok=True)
            # A tag that was there may be of an earlier push of these files, which was killed at the end.
            if _tree(api, repo_id, repo_type, revision) != _tree(api, repo_id, repo_type, info.oid):
                raise ValueError(
                    f"{repo_id} already has a revision {revision}; the files were uploaded. Choose another."
                )
    return info.commit_url


def _tree(api: HfApi, repo_id: str, repo_type: str, revision: str) -> set[tuple[str, str]]:
    """Return the paths and hashes of the files of a commit."""
    tree = api.list_repo_tree(repo_id, recursive=True, revision=revision, repo_type=repo_type)
    return {(each.path, each.blob_id) for each in tree if isinstance(each, RepoFile)}


@contextlib.contextmanager
def one_line_errors(repo_id: str, state: str | None = None) -> Iterator[None]:
    """Turn errors of the Hub's client into one line that says what to do.

    `state` says what holds after the error; by default that the repository has not changed.
    """
    state = state or f"{repo_id} has not changed"
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise ValueError("no token was found. Run hf auth login, or set HF_TOKEN.") from error
    except HfHubHTTPError as error:
        raise ValueError(_reason(error, repo_id, state)) from error
    except (httpx2.HTTPError, OSError, RuntimeError) as error:  # a connection refused, reset or timed out
        reason = f"{type(error).__name__}: {in_one_line(error)}"
        raise ValueError(
            f"the connection to {constants.ENDPOINT} failed ({reason}). {state}; run the same command again."
        ) from error


def _reason(error: HfHubHTTPError, repo_id: str, state: str) -> str:
    """Return in one line why the Hub refused to write."""
    status = getattr(error.response, "status_code", None)
    message = " ".join((error.server_message or str(error)).split())[:200]
    if status == 401:
        return (
            f"{constants.ENDPOINT} does not accept the token ({message}). Run hf auth login, or set HF_TOKEN."
        )
    if status == 403:
        return f"the token may not write to {repo_id} ({message}). Use one with write access to it."
    return f"{constants.ENDPOINT} refused ({status}: {message}). {state}."
