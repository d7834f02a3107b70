"""One commit to a repository of the Hub: either all of it is there, or nothing has changed."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id


def check_name(repo_id: str) -> None:
    """Refuse what is no `owner/name`.

    Raises:
        ValueError: In one line.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name of a repository: expected owner/name ({error}).") from error
    if repo_id.count("/") != 1:
        raise ValueError(f"{repo_id!r} is no name of a repository: expected owner/name.")


def upload(
    api: HfApi,
    repo_id: str,
    files: Mapping[str, Path],
    *,
    message: str,
    repo_type: str = "model",
    private: bool = False,
    revision: str | None = None,
    remove: Sequence[str] = (),
    **new_repository: str,
) -> str:
    """Upload files in one commit, into a repository that is made if it is not there.

    Args:
        api (`HfApi`): With endpoint and token.
        repo_id (`str`): `owner/name`.
        files (`Mapping[str, Path]`): Path in the repository to the file here.
        message (`str`): Of the commit.
        repo_type (`str`, *optional*, defaults to `"model"`): Or dataset, or space.
        private (`bool`, *optional*, defaults to `False`): Of a repository that is made.
        revision (`str`, *optional*): A tag that the commit gets.
        remove (`Sequence[str]`, *optional*): Files in the repository that the commit deletes.
        **new_repository (`str`): More for `create_repo`, such as `space_sdk`.

    Returns:
        `str`: Address of the commit.

    Raises:
        ValueError: In one line, if there is no token or no permission, the Hub refuses, or the connection is
            lost; the repository's files are then as they were.
    """
    with one_line_errors(api, repo_id, revision):
        api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, **new_repository)
        operations = [CommitOperationAdd(name, path) for name, path in files.items()]
        operations += [CommitOperationDelete(name, is_folder=False) for name in remove]
        info = api.create_commit(repo_id, operations, repo_type=repo_type, commit_message=message)
        if revision:
            api.create_tag(repo_id, tag=revision, revision=info.oid, repo_type=repo_type, exist_ok=False)
    return info.commit_url


@contextlib.contextmanager
def one_line_errors(
    api: HfApi, repo_id: str, revision: str | None = None, state: str | None = None
) -> Iterator[None]:
    """Turns what the Hub's client raises into one line that says what to do.

    Args:
        api (`HfApi`): With the endpoint.
        repo_id (`str`): `owner/name`.
        revision (`str`, *optional*): A tag that is being made.
        state (`str`, *optional*): A sentence on what holds after an error; by default that the repository has
            not changed.
    """
    state = state or f"{repo_id} has not changed"
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise ValueError("no token was found. Run hf auth login, or set HF_TOKEN.") from error
    except HfHubHTTPError as error:
        raise ValueError(_reason(error, api, repo_id, revision, state)) from error
    except (httpx2.HTTPError, OSError, RuntimeError) as error:  # a connection refused, reset or timed out
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the connection to {api.endpoint} failed ({type(error).__name__}: {reason}). {state}; "
            "run the same command again."
        ) from error


def _reason(error: HfHubHTTPError, api: HfApi, repo_id: str, revision: str | None, state: str) -> str:
    status = getattr(error.response, "status_code", None)
    said = " ".join((error.server_message or str(error)).split())[:200]
    if status == 401:
        return f"{api.endpoint} does not accept the token ({said}). Run hf auth login, or set HF_TOKEN."
    if status == 403:
        return f"the token may not write to {repo_id} ({said}). Use one with write access to it."
    if status == 409 and revision:
        return f"{repo_id} has a revision {revision} already; the files were uploaded. Choose another tag."
    return f"{api.endpoint} refused ({status}: {said}). {state}."
