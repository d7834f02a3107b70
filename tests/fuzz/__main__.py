"""Run every malformed input, print a table of counts by door, and keep it.

python -m tests.fuzz                   # all; the table goes to benchmarks/results
python -m tests.fuzz --sample 200      # a fixed spread over all kinds, nothing kept
python -m tests.fuzz --only weights    # those whose name holds a text
"""

import argparse
import os
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from . import arguments, arrays, checkpoints, frames, page, runs, sheets, videos
from .cases import Case
from .judge import BROKEN, FINE, Judge, Verdict

MAKERS = (videos, frames, arrays, sheets, checkpoints, runs, arguments, page)
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def all_cases() -> list[Case]:
    """Every input, each once."""
    cases = {case.id: case for maker in MAKERS for case in maker.cases()}
    return list(cases.values())


def sample(cases: list[Case], count: int) -> list[Case]:
    """A fixed spread: kinds take turns, and of each kind the cases lie far apart."""
    kinds = defaultdict(list)
    for case in cases:
        kinds[case.door, case.kind].append(case)
    share = count / len(cases)
    counts = {kind: max(1, round(share * len(each))) for kind, each in kinds.items()}
    return [each[len(each) * i // counts[kind]] for kind, each in kinds.items() for i in range(counts[kind])]


def table(verdicts: list[Verdict]) -> dict[str, dict[str, int]]:
    """Door -> what became of its inputs -> how many."""
    counts = {verdict.case.door: Counter() for verdict in verdicts}
    for verdict in verdicts:
        counts[verdict.case.door][verdict.kind] += 1
    return {
        door: {"inputs": count.total()} | {kind: count[kind] for kind in (*FINE, *BROKEN)}
        for door, count in counts.items()
    }


def show(counts: dict[str, dict[str, int]]) -> None:
    names = list(next(iter(counts.values())))
    print(f"{'':12}" + "".join(f"{name:>14}" for name in names))
    total = {name: sum(count[name] for count in counts.values()) for name in names}
    for door, count in [*counts.items(), ("all", total)]:
        print(f"{door:12}" + "".join(f"{count[name]:14}" for name in names))


def keep(verdicts: list[Verdict]) -> None:
    """Write the table with date, commit and machine, as the benchmarks do."""
    from benchmarks.__main__ import keep
    from mer_hf.utils.provenance import git_commit

    counts = table(verdicts)
    flat = {
        f"{door}_{name.replace(' ', '_')}": count
        for door, each in counts.items()
        for name, count in each.items()
    }
    most = max(verdicts, key=lambda verdict: verdict.peak_mb)
    flat |= {"peak_mb": most.peak_mb, "slowest_s": max(verdict.seconds for verdict in verdicts)}
    print(f"kept in {keep('fuzz', flat, RESULTS, git_commit() or 'unknown')}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Run malformed inputs.")
    parser.add_argument("--sample", type=int, metavar="N", help="about N of them, spread over all kinds")
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose name holds a text")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="at a time"
    )
    parser.add_argument("--verbose", action="store_true", help="print every verdict")
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    cases = [case for case in all_cases() if args.only in case.id]
    cases = sample(cases, args.sample) if args.sample else cases
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        judge = Judge(Path(folder), any(case.door == "page" for case in cases))
        verdicts = []
        for verdict in judge.judge(cases, args.jobs):
            verdicts.append(verdict)
            if args.verbose or verdict.kind in BROKEN:
                print(f"{verdict.kind}: {verdict}", flush=True)
    show(table(verdicts))
    if not args.sample and not args.only:
        keep(verdicts)
    return int(any(verdict.kind in BROKEN for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
