"""A protocol's run that is killed (SIGKILL) at each of some moments, and resumed; see tests/training/kill.py.

    python tests/evaluation/kill_protocol.py FOLDER '[["forward", 9], 0.3]' FLAGS...

Prints a JSON object: moment -> SHA-256 of predictions.csv; "" is the run never killed.
"""

import json
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mer_hf.training import folds as protocols
from mer_hf.utils import work_queue
from mer_hf.utils.provenance import sha256_of
from tests.training import kill

kill.PLACES |= {
    "predictions": (protocols, "write_rows"),  # a fold is trained, its predictions are not there
    "claim": (work_queue.WorkQueue, "_claimed"),
    "baselines": (protocols, "baseline_rows"),  # all folds are done, the report is not
    "report": (protocols, "write_report"),
}


def log_after(flags: list[str], folder: Path, moment) -> str:
    """SHA-256 of the log of a run that was killed at a moment, and resumed."""
    flags = ["--output-dir", str(folder), *flags]
    child = kill.start(flags, moment)
    if isinstance(moment, float):
        time.sleep(moment)
        kill.os.kill(child, signal.SIGKILL)
    code = kill.outcome(child)
    if moment is not None:
        assert code == -signal.SIGKILL or isinstance(moment, float), f"{moment} was never reached: {code}"
        code = kill.outcome(kill.start([*flags, "--resume"]))
    assert code == 0, f"{moment}: exit code {code}"
    left = {path.name for path in folder.iterdir()}
    assert left == {path.name for path in (folder.parent / "whole").iterdir()}, f"{moment}: {left}"
    return sha256_of(folder / "predictions.csv")


if __name__ == "__main__":
    top, moments, given = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    found = {"": log_after(given, top / "whole", None)}
    for number, each in enumerate(moments):
        found[str(each)] = log_after(given, top / str(number), each)
    print(json.dumps(found))
