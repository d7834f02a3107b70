"""Uploads a checkpoint in one commit: either all of it is there, or nothing has changed."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars, validate_repo_id

from .cards import model_card
from .folder import assemble, check, read_source


@dataclass(frozen=True)
class Plan:
    """What a push would upload.

    Attributes:
        repo_id (`str`): Of the repository.
        files (`tuple[tuple[str, int], ...]`): Name and size in bytes.
        card (`str`): README.md.
    """

    repo_id: str
    files: tuple[tuple[str, int], ...]
    card: str

    def __str__(self) -> str:
        total = sum(size for _, size in self.files)
        lines = [f"{size:12,}  {name}" for name, size in self.files]
        return "\n".join([f"to {self.repo_id}:", *lines, f"{total:12,}  in all", "", self.card.rstrip()])


def push(
    source: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    progress: bool = True,
) -> Plan | str:
    """Publish a checkpoint.

    It is assembled, loaded in a clean process and compared with its source before anything is sent.

    Args:
        source (`Path`): A checkpoint's folder.
        repo_id (`str`): `owner/name`.
        private (`bool`, *optional*, defaults to `False`): Of a repository that is made.
        revision (`str`, *optional*): A tag that the commit gets.
        dry_run (`bool`, *optional*, defaults to `False`): Only say what would be uploaded.
        endpoint (`str`, *optional*): Of the Hub; huggingface_hub's by default.
        token (`str`, *optional*): huggingface_hub's by default.
        progress (`bool`, *optional*, defaults to `True`): Whether to show bars.

    Returns:
        [`Plan`] or `str`: With `dry_run` the plan, else the address of the commit.

    Raises:
        ValueError: In one line, if the source must not be published, the name is none, there is no token or
            no permission, or the connection is lost; the repository is then as it was.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name of a repository: expected owner/name ({error}).") from error
    if repo_id.count("/") != 1:
        raise ValueError(f"{repo_id!r} is no name of a repository: expected owner/name.")
    found = read_source(Path(source))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        card = model_card(found, repo_id)
        files = assemble(found, card, folder)
        check(folder, found)
        plan = Plan(repo_id, tuple((each.name, each.stat().st_size) for each in files), card)
        if dry_run:
            return plan
        (enable_progress_bars if progress else disable_progress_bars)()
        return _upload(HfApi(endpoint=endpoint, token=token), repo_id, files, private, revision)


def _upload(api: HfApi, repo_id: str, files: list[Path], private: bool, revision: str | None) -> str:
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        operations = [CommitOperationAdd(each.name, each) for each in files]
        info = api.create_commit(repo_id, operations, commit_message="Upload a checkpoint of mer_hf")
        if revision:
            api.create_tag(repo_id, tag=revision, revision=info.oid, exist_ok=False)
    except LocalTokenNotFoundError as error:
        raise ValueError("no token was found. Run hf auth login, or set HF_TOKEN.") from error
    except HfHubHTTPError as error:
        raise ValueError(_reason(error, api, repo_id, revision)) from error
    except (httpx2.HTTPError, OSError, RuntimeError) as error:  # a connection refused, reset or timed out
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the connection to {api.endpoint} failed ({type(error).__name__}: {reason}). {repo_id} has not "
            "changed; run the same command again."
        ) from error
    return info.commit_url


def _reason(error: HfHubHTTPError, api: HfApi, repo_id: str, revision: str | None) -> str:
    status = getattr(error.response, "status_code", None)
    said = " ".join((error.server_message or str(error)).split())[:200]
    if status == 401:
        return f"{api.endpoint} does not accept the token ({said}). Run hf auth login, or set HF_TOKEN."
    if status == 403:
        return f"the token may not write to {repo_id} ({said}). Use one with write access to it."
    if status == 409 and revision:
        return f"{repo_id} has a revision {revision} already; the files were uploaded. Choose another tag."
    return f"{api.endpoint} refused ({status}: {said}). {repo_id} has not changed."
