"""Publishes a checkpoint: read, assembled, checked by a clean process, uploaded."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from .cards import model_card
from .folder import assemble, check, read_source
from .upload import check_name, upload


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
    check_name(repo_id)
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
        return upload(
            HfApi(endpoint=endpoint, token=token),
            repo_id,
            {each.name: each for each in files},
            message="Upload a checkpoint of mer_hf",
            private=private,
            revision=revision,
        )
