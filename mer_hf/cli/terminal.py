"""What the commands share: one-line errors, a quiet stderr, progress bars, files written at once."""

import argparse
import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

_kept_stderr: list[int] = []
"""Descriptors of stderr while messages of libraries are kept off it, the latest last."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, the same for every command."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong in one line, and ends the process with code 2."""
        self.exit(2, f"mer-hf: error: {message}. Run {self.prog} --help.\n")


@contextlib.contextmanager
def bar(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on the stderr that the user sees, which `quiet` has put aside."""
    from tqdm.auto import tqdm

    with (
        open(os.dup(seen_stderr()), "w") as seen,
        tqdm(desc=title, unit=unit, file=seen, leave=False) as bar,
    ):

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def seen_stderr() -> int:
    """Descriptor of the stderr that the process was started with."""
    return _kept_stderr[-1] if _kept_stderr else 2


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds `--model` and `--trust-remote-code`, which mean the same wherever a network is used."""
    parser.add_argument(
        "--model",
        default="htnet",
        metavar="NAME_OR_DIR",
        help="a bundled checkpoint, a folder, or OWNER/NAME or OWNER/NAME@REVISION on the Hub; "
        "mer-hf models lists some (default: %(default)s)",
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code that comes with a checkpoint whose architecture this package has not",
    )


def positive(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def field(text: str) -> tuple[str, object]:
    """`field=value` with the value in JSON."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"expected FIELD=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        raise argparse.ArgumentTypeError(
            f"expected a JSON value for {name}, such as 3, [2, 2, 8] or '\"gelu\"', got {value!r}"
        ) from None


def check_output(path: Path | None, suffixes: tuple[str, ...]) -> None:
    """Refuses a file that cannot be written before the work is done for it."""
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} must end in one of {', '.join(suffixes)}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give the name of a file.")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} does not exist. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"the folder {path.parent} is not writable. Choose another.")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' own messages off stderr, those of C++ too; what is raised passes through.

    A [`~mer_hf.utils.provenance.Note`] is shown, once and in one line.
    """
    from mer_hf.utils.provenance import Note

    def show(message: Warning | str, *_, **__) -> None:
        os.write(seen_stderr(), f"mer-hf: note: {message}\n".encode())

    sys.stderr.flush()
    kept = os.dup(2)
    _kept_stderr.append(kept)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        # Handlers made in here keep the buffer: a file would be closed under them.
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", Note)
            warnings.showwarning = show
            yield
    finally:
        _kept_stderr.remove(kept)
        os.dup2(kept, 2)
        os.close(kept)
