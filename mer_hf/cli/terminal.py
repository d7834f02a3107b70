"""What the commands share: arguments, one-line errors, a quiet stderr and progress bars."""

import argparse
import contextlib
import io
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mer_hf.utils import bounds

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

_kept_stderr: list[int] = []
"""Descriptors of stderr while messages of libraries are kept off it, the latest last."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, the same for every command."""

    def parse_known_args(self, args=None, namespace=None):
        """Parse, and say so where the name of a file is taken for an option."""
        for name in sys.argv[1:] if args is None else args:
            if name.startswith("-") and Path(name).is_file():
                self.exit(2, f"mer-hf: error: {name} looks like an option. Write ./{name} for the file.\n")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Report an error in one line, and end the process with code 2."""
        self.exit(2, f"mer-hf: error: {message}. Run {self.prog} --help.\n")


Argument = tuple[str, dict[str, Any]]
COMMANDS: dict[str, tuple[Callable, tuple[Argument, ...]]] = {}
"""Name of a command -> the function that runs it, and its arguments."""


def command(*arguments: Argument) -> Callable:
    """Register a function that runs a command under its own name."""

    def register(run: Callable) -> Callable:
        COMMANDS[run.__name__.replace("_", "-")] = run, arguments
        return run

    return register


def _local_path(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"give a file: addresses are not fetched, got {text}")
    return Path(text)


def argument(name: str, metavar: str, help: str, **options: Any) -> Argument:
    """Describe an argument with a value, as for `ArgumentParser.add_argument`; a path is not an address."""
    if options.get("type") is Path:
        options["type"] = _local_path
    return name, {"metavar": metavar, "help": help, **options}


def refuse_same_files(args: argparse.Namespace) -> None:
    """Raise `ValueError` if two arguments of a command name one file: the second would destroy the first."""
    seen: dict[str, str] = {}
    for name, value in vars(args).items():
        for path in value if isinstance(value, list | tuple) else [value]:
            if isinstance(path, Path) or (isinstance(path, str) and os.path.isfile(path)):
                other = seen.setdefault(os.path.realpath(path), name)
                compared = {other, name} == {"a", "b"}  # a coding may be compared with itself
                if other != name and not compared:
                    raise ValueError(f"{other} and {name} are the same file, {path}. Name another one.")


def flag(name: str, help: str) -> Argument:
    """Describe an argument without a value."""
    return name, {"action": "store_true", "help": help}


def number(kind: type, limits: tuple[float, float]) -> Callable[[str], Any]:
    """Return a parser of the numbers of a type that lie within bounds."""
    least, most = limits
    expected = f"a {'whole ' if kind is int else ''}number from {least} to {most}"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text[:40]!r}")
        return value

    return parse


SEVERAL = {"nargs": "+", "action": "extend", "default": []}
FACE_HELP = "which face, from 1: of a clip from the left, of a video as they appear (default: the largest)"
FACE = argument("--face", "N", FACE_HELP, type=number(int, bounds.FACE))
ALL = flag("--all", "list motions that are not expressions as well")
JSON = flag("--json", "print one JSON object")
MODELS = "a bundled checkpoint (default: %(default)s), a folder, or OWNER/NAME[@REVISION] on the Hub"
MODEL = (
    argument("--model", "NAME_OR_DIR", MODELS, default="htnet"),
    flag("--trust-remote-code", "run the code of a checkpoint whose architecture this package does not have"),
)
"""The arguments that mean the same wherever a network is used."""


def options_of(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the parsed arguments of these names."""
    return {name: getattr(args, name) for name in names}


def counted(count: int, noun: str) -> str:
    """Return `1 blink` or `2 blinks`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def check_input(path: Path) -> None:
    """Refuse a path where nothing lies at once, before the seconds that loading a network takes."""
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder. Check the path.")


def check_output(path: Path | None, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that cannot be written before the work for it is done."""
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give the name of a file.")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} does not exist. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"the folder {path.parent} is not writable. Choose another.")


def check_folder(path: Path | None) -> None:
    """Refuse a folder that is none, or that cannot be made, before the work for it is done."""
    if path is None:
        return
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is a file. Give the name of a folder.")
    if not os.access(there, os.W_OK):
        raise ValueError(f"the folder {there} is not writable. Choose another.")


@contextlib.contextmanager
def on_signal(number: signal.Signals, handler: Any) -> Iterator[None]:
    """Handle a signal in another way for a while."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def visible_stderr() -> Iterator[TextIO]:
    """Open the stderr that the process was started with, which `quiet` has put aside."""
    with open(os.dup(_kept_stderr[-1] if _kept_stderr else 2), "w") as file:
        yield file


@contextlib.contextmanager
def bar(title: str, unit: str) -> Iterator[Callable[[float, float], None]]:
    """Show a progress bar on the visible stderr; yield a function of what is done and of all.

    It is there from the first progress on, so that nothing stands before the error of a command that fails at
    once, and goes away at the end.
    """
    from tqdm.auto import tqdm

    with contextlib.ExitStack() as stack:
        shown: list[tqdm] = []
        begun_s = time.time()

        def progress(done: float, total: float) -> None:
            if not shown:
                file = stack.enter_context(visible_stderr())
                shown.append(stack.enter_context(tqdm(desc=title, unit=unit, file=file, leave=False)))
                shown[0].start_t = begun_s
            line, done = shown[0], round(done)
            if done < line.n:
                line.reset()
            line.total = round(total)
            line.update(done - line.n)
            if done == line.total:
                line.refresh()  # quick work ends before the bar would be drawn again

        yield progress


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' own messages off stderr, those of C++ too; exceptions pass through.

    A [`~mer_hf.utils.provenance.Note`] is shown, once and in one line.
    """
    from mer_hf.utils.provenance import Note

    def show(message: Warning | str, *_, **__) -> None:
        with visible_stderr() as file:
            file.write(f"mer-hf: note: {message}\n")

    sys.stderr.flush()
    kept = os.dup(2)
    _kept_stderr.append(kept)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        # Handlers that libraries make meanwhile keep the buffer: a file would be closed under them.
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", Note)
            warnings.showwarning = show
            yield
    finally:
        _kept_stderr.remove(kept)
        os.dup2(kept, 2)
        os.close(kept)
