"""`mer-hf agreement` and `convert-coding`: what people coded."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from mer_hf.utils.files import write_picture

from .exports import CODINGS, OTHER_OR_OVERWRITE
from .terminal import IMAGE_SUFFIXES, JSON, argument, check_output, command, counted, flag

if TYPE_CHECKING:
    from mer_hf.evaluation.agreement import Agreement

KNOWN = "a coding: .json, .eaf, .boris, .tsv, or .csv (docs/interchange.md)"


@command(
    argument("a", "A", KNOWN, type=Path),
    argument("b", "B", "another of the same video, by another coder or a network", type=Path),
    JSON,
    argument("--plot", "FILE", "write a picture: both codings on one line of time", type=Path),
)
def agreement(args: argparse.Namespace) -> str:
    """Compare two codings of a video."""
    check_output(args.plot, IMAGE_SUFFIXES)
    from mer_hf.evaluation.agreement import agreement
    from mer_hf.interchange.formats import read_coding

    a, b = read_coding(args.a), read_coding(args.b)
    found = agreement(a, b)
    if args.plot:
        from mer_hf.visualization.figures import codings_picture

        same = args.a.name == args.b.name
        events = {
            f"{letter}: {path if same else path.name}": [
                (each.onset_s, each.apex_s, each.offset_s, each.label) for each in coding.kept
            ]
            for letter, path, coding in (("A", args.a, a), ("B", args.b, b))
        }
        ends_s = [each[2] for rows in events.values() for each in rows]
        lasts_s = max([a.duration_s or 0.0, b.duration_s or 0.0, *ends_s])
        write_picture(args.plot, codings_picture(events, lasts_s))
    return json.dumps(asdict(found)) if args.json else summary(found)


@command(
    argument("source", "FILE", KNOWN, type=Path),
    argument("out", "OUT", "the file to write: .json, .eaf, .boris, .tsv, or .csv (a FACS sheet)", type=Path),
    flag("--overwrite", "replace a file that is there, and what somebody coded in it"),
)
def convert_coding(args: argparse.Namespace) -> str:
    """Turn a coding into another program's form."""
    suffixes = {suffix: name for name, (known, _) in CODINGS.items() for suffix in known}
    check_output(args.out, tuple(suffixes))
    if args.out.exists() and not args.overwrite:
        raise ValueError(f"{args.out} is there already. {OTHER_OR_OVERWRITE}")
    from mer_hf.interchange.formats import WRITERS, read_coding

    coding = read_coding(args.source)
    WRITERS[suffixes[args.out.suffix.lower()]](args.out, coding)
    return f"{counted(len(coding.kept), 'event')} written to {args.out}."


def summary(found: "Agreement") -> str:
    """Write an agreement as a few lines for a reader."""
    f1 = "-" if found.f1 is None else f"{found.f1:.2f}"
    lines = [
        f"{counted(len(found.pairs), 'event')} in both, {found.only_a} only in A, {found.only_b} only in B; "
        f"F1 of events that overlap by half: {f1}",
        f"{'':<16}{'kappa':>7}{'time in A':>11}{'time in B':>11}",
    ]
    for name, row in found.kappas.items():
        kappa = "-" if row["kappa"] is None else f"{row['kappa']:.2f}"
        lines.append(f"{name:<16}{kappa:>7}{row['a']:>11.1%}{row['b']:>11.1%}")
    if found.label_kappa is not None:
        lines.append(f"{'class of events':<16}{found.label_kappa:>7.2f}")
    for name in ("onset", "apex", "offset"):
        later = [pair[f"{name}_ms"] for pair in found.pairs if pair[f"{name}_ms"] is not None]
        if later:
            middle, least, most = map(round, (median(later), min(later), max(later)))
            lines.append(f"{name} in B against A: median {middle:+d} ms, from {least:+d} to {most:+d}")
    return "\n".join(lines)
