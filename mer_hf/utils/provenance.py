"""Say where a number came from: the commit of the code, the hash of a file, and notes for the user."""

import hashlib
import os
import subprocess
from pathlib import Path


class Note(UserWarning):
    """A warning that the command line shows: what the user should know about the origin of an answer."""


def sha256_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's bytes, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_commit() -> str | None:
    """Return the commit this package runs from, `-dirty` if files were changed; None outside a checkout."""
    options = {"cwd": Path(__file__).parents[1], "capture_output": True, "text": True, "check": True}
    try:
        subprocess.run(["git", "ls-files", "--error-unmatch", "__init__.py"], **options)
        describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, **options).stdout.strip()
    except (subprocess.CalledProcessError, FileNotFoundError):  # the second: no git on this machine
        return None
