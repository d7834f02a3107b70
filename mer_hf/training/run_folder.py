"""The folder of a run: states to go on from, a log, at the end a checkpoint; nothing is half-written.

    train_config.json           what the run depends on, from its first second
    metrics.jsonl               one line per --log-every steps, and the scores at the end
    checkpoints/step-00000200   a state that --resume starts from; there is one, and none when the run is done
    config.json, preprocessor_config.json, code files, model.safetensors   what the run ends in, weights last

A state is written under a name beginning with a dot and renamed when it is complete.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mer_hf.utils.files import write_text

from .config import TrainingConfig, TrainingError

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not noticed there
    fcntl = None

WEIGHTS = "model.safetensors"


def _flush(folder: Path) -> None:
    """Make sure that what was written into a folder outlives a power cut before the folder gets its name."""
    for path in [folder, *folder.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class RunFolder:
    """Where a run keeps what it needs; only the main process writes through it.

    Args:
        config ([`TrainingConfig`]): Of the run.
    """

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.path = Path(config.output_dir)
        self.states = self.path / "checkpoints"
        self._lock = None

    @property
    def finished(self) -> bool:
        """Whether the run has ended and left its checkpoint."""
        return (self.path / WEIGHTS).is_file()

    def started_with(self) -> int | None:
        """Number of processes that the run in this folder was started with, None if there is no run."""
        record = self.path / "train_config.json"
        return json.loads(record.read_text()).get("num_processes") if record.is_file() else None

    def claim(self, setting: dict[str, Any], elastic: bool = False) -> list[str]:
        """Make the folder and record the run in it, or check that it is the run to go on with.

        Args:
            setting (`dict`): `num_processes`, and what else is worth a record.
            elastic (`bool`, *optional*, defaults to `False`): Whether the run may go on with another number
                of processes.

        Returns:
            `list[str]`: What is worth telling.

        Raises:
            TrainingError: If the folder holds something and `resume` is not set, or another kind of run, or
                if another process is at work in it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"--output-dir {self.path} is a file. Name a folder.")
        record = self.path / "train_config.json"
        if self.config.resume and record.is_file():
            self._hold()
            notes = self._check(json.loads(record.read_text()), setting, elastic)
            self._sweep()
            if self.finished:
                self.clear()
            return notes
        if self.path.exists() and any(not name.startswith(".") for name in os.listdir(self.path)):
            raise TrainingError(
                f"--output-dir {self.path} is not empty. "
                + (
                    "It holds no run to resume; name another folder."
                    if self.config.resume
                    else "Add --resume to go on with the run in it, or name another folder."
                )
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self._hold()
        write_text(record, json.dumps({**self.config.stored(), **setting}, indent=2) + "\n")
        return []

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

    def _check(self, before: dict[str, Any], now: dict[str, Any], elastic: bool) -> list[str]:
        wanted, found = before.get("num_processes"), now["num_processes"]
        if wanted == found:
            return []
        if not elastic:
            raise TrainingError(
                f"the run in {self.path} has {wanted} process(es), this one {found}: its weights would "
                f"differ. Start {wanted}, or start anew in another folder."
            )
        return [
            f"{self.path} was started with {wanted} process(es) and goes on with {found}: the batches stay "
            "the same, but sums are taken in another order and dropout is drawn anew, so bits may differ."
        ]

    def _sweep(self) -> None:
        """Remove what a killed process left unfinished, and all but the latest state."""
        for path in self.path.glob(".final*"):
            shutil.rmtree(path)
        if not self.states.is_dir():
            return
        latest = self.latest()
        for path in self.states.iterdir():
            if path != latest:
                shutil.rmtree(path)

    def latest(self) -> Path | None:
        """The state with the most steps, or None."""
        return max(self.states.glob("step-*"), default=None)

    @staticmethod
    def step_of(state: Path) -> int:
        """Optimizer steps done in a state."""
        return int(state.name.removeprefix("step-"))

    def unfinished(self, step: int) -> Path:
        """Where the state after `step` is written before it is complete."""
        return self.states / f".step-{step:08d}"

    def complete(self, step: int) -> None:
        """Give a state its name, now that all processes have written their part; remove the ones before."""
        _flush(self.unfinished(step))
        self.unfinished(step).rename(self.states / f"step-{step:08d}")
        self._sweep()

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def rewind_log(self, step: int) -> None:
        """Drop the lines of steps that are going to be done again, and a line that was cut off."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # the process was killed while it wrote this line
                continue
            if "validation" not in record and record["step"] <= step:
                kept.append(line + "\n")
        write_text(path, "".join(kept))

    def finish(self, save: Callable[[Path], None]) -> None:
        """Leave the checkpoint that the run ends in, and remove the states.

        Args:
            save (`Callable`): Writes the checkpoint into an empty folder.
        """
        folder = self.path / ".final"
        folder.mkdir()
        save(folder)
        _flush(folder)
        # The weights come last: where they are, everything else is.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == WEIGHTS):
            path.replace(self.path / path.name)
        folder.rmdir()
        self.clear()

    def clear(self) -> None:
        """Remove what a run that has ended needs no more."""
        if self.states.is_dir():
            shutil.rmtree(self.states)
        (self.path / ".lock").unlink(missing_ok=True)
