"""The folder of a run: states to resume from, a log, and a checkpoint at the end; never a file half-written.

    train_config.json           what the run depends on, from its first second
    metrics.jsonl               one line per --log-every steps, and the scores at the end
    checkpoints/step-00000200   the latest state, which --resume starts from; removed when the run is done
    config.json, preprocessor_config.json, code files, model.safetensors   the checkpoint, weights last

A state is written under a name that begins with a dot and renamed when it is complete.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mer_hf.utils.files import append_line, write_text, writing
from mer_hf.utils.untrusted import check_kinds

from .config import TrainingConfig, TrainingError, read_record

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not noticed there
    fcntl = None

WEIGHTS = "model.safetensors"


def _flush(folder: Path) -> None:
    """Make what was written into a folder survive a power cut, before the folder gets its name."""
    for path in [folder, *folder.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_empty(folder: Path, resume: bool, ours: tuple[str, ...] = ()) -> None:
    """Make the folder of a run; refuse one that holds anything but hidden files and `ours`."""
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"--output-dir {folder} is a file. Name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    if any(not name.startswith(".") and name not in ours for name in os.listdir(folder)):
        hint = "Add --resume to continue its run, or name another folder."
        hint = "It does not hold a run to resume; name another folder." if resume else hint
        raise TrainingError(f"--output-dir {folder} is not empty. {hint}")


class RunFolder:
    """Where a run keeps what it needs; only the main process writes through it."""

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.path = Path(config.output_dir)
        self.states = self.path / "checkpoints"
        self._lock = None

    @property
    def finished(self) -> bool:
        """Return whether the run has ended and left its checkpoint."""
        return (self.path / WEIGHTS).is_file()

    def started_with(self) -> int | None:
        """Return the number of processes that the run was started with, None if there is no run."""
        record = self.path / "train_config.json"
        return read_record(record).get("num_processes") if record.is_file() else None

    def claim(self, setting: dict[str, Any]) -> None:
        """Make the folder and record the run in it, or check that it is the run to resume.

        Args:
            setting (`dict`): `num_processes`, and what else is worth a record.

        Raises:
            TrainingError: If the folder holds something else, or another process is at work in it.
        """
        if self.config.resume and (self.path / "train_config.json").is_file():
            self._hold()
            self._compare(self.started_with(), setting["num_processes"])
            self._sweep()
            if self.finished:
                self.clear()
            return
        make_empty(self.path, self.config.resume)
        self._hold()
        record = json.dumps({**self.config.stored(), **setting}, indent=2) + "\n"
        write_text(self.path / "train_config.json", record)

    def _hold(self) -> None:
        """Keep others out of the folder while this process lives: it may outlive the one that launched it."""
        if fcntl is None:
            return
        self._lock = open(self.path / ".lock", "w")  # noqa: SIM115 (held until the process ends)
        try:
            # lockf and not flock, which the processes that draw samples would inherit and outlive us with.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(f"another process is training in {self.path}. End it first.") from error

    def _compare(self, before: int | None, now: int) -> None:
        """Compare the number of processes with that of the interrupted run."""
        if before == now:
            return
        if self.config.data == "synthetic":
            raise TrainingError(
                f"the run in {self.path} has {before} process(es), this one {now}: its weights would "
                f"differ. Start {before}, or choose another folder."
            )
        print(
            f"{self.path} was started with {before} process(es) and continues with {now}: the batches stay "
            "the same, but sums are taken in another order and dropout is drawn again, so bits may differ.",
            flush=True,
        )

    def _sweep(self) -> None:
        """Remove what a killed process left unfinished, and all but the latest state."""
        latest = self.latest()
        leftovers = [*self.path.glob(".final*"), *self.path.glob(".mer-hf-*")]
        if self.states.is_dir():
            leftovers += [path for path in self.states.iterdir() if path != latest]
        for path in leftovers:
            shutil.rmtree(path)

    def latest(self) -> Path | None:
        """Return the state with the most steps, or None."""
        return max(self.states.glob("step-*"), default=None)

    @staticmethod
    def step_of(state: Path) -> int:
        """Return the optimizer steps done in a state."""
        return int(state.name.removeprefix("step-"))

    def unfinished(self, step: int) -> Path:
        """Return where the state after `step` is written before it is complete."""
        return self.states / f".step-{step:08d}"

    def complete(self, step: int) -> None:
        """Give a state its name, now that all processes have written their part; remove the ones before."""
        _flush(self.unfinished(step))
        self.unfinished(step).rename(self.states / f"step-{step:08d}")
        self._sweep()

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        append_line(self.path / "metrics.jsonl", json.dumps(record))

    def rewind_log(self, step: int) -> None:
        """Drop the lines of steps that will be done again, and a line that was cut off."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
                check_kinds(record, {"step": int}, str(path))
            except (ValueError, RecursionError):  # the process was killed while it wrote this line
                continue
            if "validation" not in record and record["step"] <= step:
                kept.append(line + "\n")
        write_text(path, "".join(kept))

    def finish(self, save: Callable[[Path], None]) -> None:
        """Let `save` write the checkpoint into an empty folder, put it in place, and remove the states."""
        folder = self.path / ".final"
        with writing(folder):
            folder.mkdir()
            save(folder)
            _flush(folder)
        # The weights come last: where they are, everything else is.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == WEIGHTS):
            path.replace(self.path / path.name)
        folder.rmdir()
        self.clear()

    def clear(self) -> None:
        """Remove what a run that has ended no longer needs."""
        if self.states.is_dir():
            shutil.rmtree(self.states)
        (self.path / ".lock").unlink(missing_ok=True)
