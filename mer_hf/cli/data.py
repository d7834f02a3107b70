"""`mer-hf prepare` and `synth-flows`: data to train on."""

import argparse
from pathlib import Path

from mer_hf.utils import bounds

from .terminal import SEVERAL, argument, bar, check_output, command, number

NAMES = "casme2, samm, smic, casme3, mmew, 4dme, casme, megc2019, or table for your own clips"


@command(
    argument("name", "NAME", NAMES),
    argument("--out", "DIR", "folder to write or to resume", type=Path, required=True),
    argument("--root", "DIR", "the dataset as you received it", type=Path),
    argument("--sheet", "FILE", "its annotation sheet, if it lies elsewhere", type=Path),
    argument("--list", "FILE", "megc2019: the official list of clips", type=Path),
    argument("--csv", "FILE", "table: columns path, subject, label, ...; or codings (.eaf, ...)", type=Path),
    argument("--class-map", "LABEL=CLASS", "table: labels to classes, or a JSON file", **SEVERAL),
    argument("--workers", "N", "processes (default: one per core)", type=number(int, bounds.WORKERS)),
)
def prepare(args: argparse.Namespace) -> str:
    """Align the faces of a dataset that you have, for training."""
    from mer_hf.data.prepare import format_report, prepare
    from mer_hf.data.readers import READERS
    from mer_hf.data.readers.own_table import read_class_map

    if args.name not in READERS:
        raise ValueError(f"there is no reader {args.name!r}. Choose from {', '.join(READERS)}.")
    class_map = read_class_map(args.class_map) if args.class_map else None
    findings = READERS[args.name].read(
        root=args.root, sheet=args.sheet, list_file=args.list, csv=args.csv, class_map=class_map
    )
    with bar("preparing", "clip") as progress:
        report = prepare(findings, args.out, workers=args.workers, progress=progress)
    return f"{format_report(report)}\nWritten to {args.out}."


@command(
    argument("--subjects", "N", "people (default: %(default)s)", type=number(int, bounds.MANY), default=22),
    argument("--seed", "S", "chooses them (default: %(default)s)", type=number(int, bounds.SEED), default=0),
    argument("--out", "FILE.npz", "the file to write", type=Path, required=True),
)
def synth_flows(args: argparse.Namespace) -> str:
    """Make a dataset of flow maps of people who do not exist."""
    check_output(args.out, (".npz",))
    from mer_hf.data.flow_files import FlowMaps, write_flow_maps
    from mer_hf.synthetic.people import draw_people

    with bar("drawing", "subject") as progress:
        drawn = draw_people(args.subjects, args.seed, progress)
    data = FlowMaps(**drawn)
    write_flow_maps(args.out, data)
    counts = ", ".join(f"{name} {count}" for name, count in data.table().counts().items())
    return f"{len(data)} flow maps of {args.subjects} subjects ({counts}) written to {args.out}."
