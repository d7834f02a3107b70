"""Interrupt a command at many moments, by killing it and by a disk that fills, and finish it each time.

    python tests/interrupted.py FOLDER predict 50 20

Every attempt either ends well or, where the disk is full, with one line; then the same command is run again
and has to end in the same result. Prints how many attempts ended how, as JSON.
"""

# ruff: noqa: E402

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_local"}

from tests.fuzz.judge import ERROR, IMPORTED, forked

for name in IMPORTED:
    __import__(name)

Command = tuple[str, list]
"""A program, and its arguments."""


def attempt(command: Command, log: Path, before: Callable[[], None] = lambda: None) -> int:
    """Start a command in a process of its own, with stderr in a file, and return its number."""

    def work() -> None:
        before()
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if command[0] == "train.py":
            from mer_hf.training.cli import main
        else:
            from mer_hf.cli import main
        code = main(list(map(str, command[1])))
        sys.stderr.flush()
        os._exit(code)

    return forked(work)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Predict:
    """Predictions of three clips into a table."""

    least = 100_000
    """Bytes of the largest disk, at least: enough to end well."""

    def __init__(self, top: Path) -> None:
        from tests.fuzz.seeds import write_seeds

        self.clips, seeds = top / "clips", top / "seeds"
        seeds.mkdir()
        assert ended(forked(lambda: write_seeds(seeds))) == 0
        self.seeds = seeds
        self.clips.mkdir()
        for number in range(3):
            shutil.copy(seeds / "face.mp4", self.clips / f"{number}.mp4")

    def command(self, out: Path) -> Command:
        return "mer-hf", ["predict", self.clips, "--out", out / "all.csv", "--model", self.seeds / "htnet"]

    def result(self, out: Path) -> list:
        """The table without what differs from run to run; nothing else may lie beside it."""
        assert [path.name for path in out.iterdir()] == ["all.csv"], list(out.iterdir())
        return self.whole(out)

    def whole(self, out: Path) -> list:
        lines = (out / "all.csv").read_text().splitlines()
        return [line.rsplit(",", 2)[0] for line in lines]

    def unhurt(self, out: Path, expected: list) -> None:
        assert not (out / "all.csv").exists() or self.whole(out) == expected


class Prepare(Predict):
    """Two clips of a table, prepared."""

    def command(self, out: Path) -> Command:
        table = self.clips / "own.csv"
        table.write_text("path,subject,label\n0.mp4,a,happiness\n1.mp4,b,anger\n")
        return "mer-hf", ["prepare", "table", "--csv", table, "--out", out / "prepared", "--workers", 1]

    def result(self, out: Path) -> list:
        top = out / "prepared"
        assert sorted(path.name for path in top.iterdir()) == [
            "clips",
            "data",
            "prepared.json",
            "report.json",
        ]
        assert all(path.suffix == ".parquet" for path in (top / "clips").iterdir())
        return self.whole(out)

    def whole(self, out: Path) -> list:
        import datasets

        rows = datasets.load_from_disk(str(out / "prepared" / "data"))
        return [*rows["key"], json.loads((out / "prepared" / "report.json").read_text())["clips"]]

    def unhurt(self, out: Path, expected: list) -> None:
        if (out / "prepared" / "report.json").exists():
            assert self.whole(out) == expected


class Train:
    """A training of nine steps, with a state after each second one."""

    least = 4_000_000
    flags = (
        "--num-samples 48 --validation-samples 4 --num-workers 0 --epochs 3 --batch-size 8 --ema-decay 0.9 "
        "--gradient-accumulation-steps 2 --save-steps 2 --log-every 1 --generator filmed=0 --config "
        "hidden_size=12 depths=[1,1,1] --resume"
    )

    def __init__(self, top: Path) -> None:
        self.drawn = top / "drawn"

    def command(self, out: Path) -> Command:
        flags = [*self.flags.split(), "--cache-dir", self.drawn]
        return "train.py", ["--output-dir", out / "run", *flags]

    def result(self, out: Path) -> list:
        from mer_hf.utils.provenance import sha256_of

        log = (out / "run" / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in log]
        hidden = [path.name for path in (out / "run").iterdir() if path.name.startswith(".")]
        return [sha256_of(out / "run" / "model.safetensors"), steps, hidden]

    def unhurt(self, out: Path, expected: list) -> None:
        """Read the latest state, and the checkpoint where it is there."""
        from safetensors.torch import load_file

        if (out / "run" / "model.safetensors").exists():  # the states may be half removed
            load_file(out / "run" / "model.safetensors")
        elif states := sorted((out / "run" / "checkpoints").glob("step-*")):  # as may those before the last
            load_file(states[-1] / "model.safetensors")


class Push:
    """A checkpoint that is published on a Hub of its own; the folder is that of temporary files."""

    least = 40_000_000

    def __init__(self, top: Path) -> None:
        from tests.hub.hub_server import serve
        from tests.models.tiny import tiny_model, tiny_processor

        self.checkpoint, address = top / "checkpoint", top / "address"
        tiny_model("htnet").save_pretrained(self.checkpoint)
        tiny_processor("htnet").save_pretrained(self.checkpoint)
        (self.checkpoint / "train_config.json").write_text(json.dumps({"data": "synthetic", "seed": 0}))

        def hub() -> None:
            with serve(top / "hub") as url:
                address.with_suffix(".part").write_text(url)
                address.with_suffix(".part").rename(address)
                time.sleep(10_000)

        self.server = forked(hub)
        while not address.exists():
            time.sleep(0.05)
        self.url, self.number = address.read_text(), 0

    def command(self, out: Path) -> Command:
        return "mer-hf", ["push", self.checkpoint, f"me/{out.name}"]

    def before(self, out: Path) -> None:
        """Ask that Hub, and leave out the clean process and the picture, which take seconds."""
        import tempfile

        from huggingface_hub import constants

        from mer_hf.hub import push as module

        tempfile.tempdir = str(out)
        constants.ENDPOINT = self.url
        constants.HUGGINGFACE_CO_URL_TEMPLATE = f"{self.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        module.check, module.render_picture = lambda *_: None, lambda *_: ""

    def files(self, out: Path) -> list:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return sorted(HfApi(self.url).list_repo_files(f"me/{out.name}"))
        except RepositoryNotFoundError:
            return []

    result = files

    def unhurt(self, out: Path, expected: list) -> None:
        assert self.files(out) in ([], [".gitattributes"], expected)


COMMANDS = {"predict": Predict, "prepare": Prepare, "train": Train, "push": Push}


def finished(what, out: Path, log: Path) -> int:
    before = getattr(what, "before", lambda _: None)
    return ended(attempt(what.command(out), log, lambda: before(out)))


def killed(what, out: Path, log: Path, seconds: float) -> str:
    before = getattr(what, "before", lambda _: None)
    child = attempt(what.command(out), log, lambda: before(out))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return "killed" if ended(child) == -signal.SIGKILL else "done"


def filled(what, out: Path, log: Path) -> str:
    """Run a command on a disk that may be too small; the error must be one line."""
    code = finished(what, out, log)
    if code == 0:
        return "done"
    text = log.read_text()
    assert code == 2 and "Traceback" not in text, text[-3000:]
    assert ERROR.fullmatch(text.splitlines()[-1]), text[-3000:]
    return "refused"


def mounted(folder: Path, size: int, remount: bool = False) -> None:
    options = f"{'remount,' * remount}size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def main(top: Path, name: str, kills: int, fills: int) -> dict[str, int]:
    what, log, counts = COMMANDS[name](top), top / "log", Counter()
    rng, whole = random.Random(0), top / "whole"
    whole.mkdir()
    assert finished(what, whole, log) == 0, log.read_text()  # also draws what is kept between runs
    expected = what.result(whole)
    need = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    (top / "again").mkdir()
    begun = time.monotonic()
    assert finished(what, top / "again", log) == 0
    lasts_s = time.monotonic() - begun
    for number in range(kills):
        out = top / f"killed{number}"
        out.mkdir()
        counts[killed(what, out, log, rng.uniform(0, lasts_s))] += 1
        finish(what, out, log, expected)
    for number in range(fills):
        out = top / f"filled{number}"
        out.mkdir()
        mounted(out, 8192 + int(max(3 * need, what.least) * number / max(fills - 1, 1)))
        try:
            counts[filled(what, out, log)] += 1
            mounted(out, 2**28, remount=True)
            finish(what, out, log, expected)
        finally:
            subprocess.run(["umount", out], check=False)
    if name == "push":
        os.killpg(what.server, signal.SIGKILL)
    return counts


def finish(what, out: Path, log: Path, expected: list) -> None:
    """Check that nothing is half-written, run the command again, and compare the result."""
    what.unhurt(out, expected)
    code = finished(what, out, log)
    assert code == 0 or "exists" in log.read_text(), log.read_text()[-3000:]
    assert what.result(out) == expected, (what.result(out), expected)


if __name__ == "__main__":
    folder, command, *numbers = sys.argv[1:]
    print(json.dumps(main(Path(folder), command, *map(int, numbers))))
