"""`mer-hf prepare` and `synth-flows`: data to train on."""

import argparse
from pathlib import Path

from .terminal import bar, check_output


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    _add_prepare(commands)
    _add_synth_flows(commands)


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    prepare = commands.add_parser("prepare", help="align the faces of a data set you have, for training")
    prepare.add_argument(
        "name",
        metavar="NAME",
        help="casme2, samm, smic, casme3, mmew, 4dme, casme, megc2019, or table: your own",
    )
    prepare.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write or go on with"
    )
    prepare.add_argument("--root", type=Path, metavar="DIR", help="the data set as you received it")
    prepare.add_argument(
        "--sheet", type=Path, metavar="FILE", help="its annotation sheet, if it lies elsewhere"
    )
    prepare.add_argument("--list", type=Path, metavar="FILE", help="megc2019: the official list of clips")
    prepare.add_argument("--csv", type=Path, metavar="FILE", help="table: columns path, subject, label, ...")
    prepare.add_argument(
        "--class-map",
        nargs="+",
        default=[],
        metavar="LABEL=CLASS",
        help="table: labels to classes, or a JSON file",
    )
    prepare.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    prepare.set_defaults(run=_prepare)


def _add_synth_flows(commands: argparse._SubParsersAction) -> None:
    synth = commands.add_parser("synth-flows", help="make a data set of flow maps of people who do not exist")
    synth.add_argument("--subjects", type=int, default=22, metavar="N", help="people (default: %(default)s)")
    synth.add_argument("--seed", type=int, default=0, metavar="S", help="chooses them (default: %(default)s)")
    synth.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="the file to write")
    synth.set_defaults(run=_synth_flows)


def _prepare(args: argparse.Namespace) -> str:
    from mer_hf.data.prepare import format_report, prepare
    from mer_hf.data.readers import READERS
    from mer_hf.data.table_reader import read_class_map, read_user_table

    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {args.workers}.")
    if args.name == "table":
        if args.csv is None:
            raise ValueError("prepare table needs --csv FILE.")
        about = {"name": "table", "title": args.csv.name}
        findings = read_user_table(args.csv, read_class_map(args.class_map) if args.class_map else None)
    elif args.name in READERS:
        if args.root is None:
            raise ValueError(f"prepare {args.name} needs --root DIR, the data set as you received it.")
        reader = READERS[args.name]
        about = {"name": reader.name, "title": reader.title, "published": reader.published}
        findings = reader.read(args.root, args.sheet, args.list)
    else:
        raise ValueError(f"there is no reader {args.name!r}. Choose from {', '.join(READERS)}, table.")
    with bar("preparing", "clip") as progress:
        report = prepare(findings, args.out, workers=args.workers, progress=progress, about=about)
    return f"{format_report(report)}\nWritten to {args.out}."


def _synth_flows(args: argparse.Namespace) -> str:
    check_output(args.out, (".npz",))
    if not 0 <= args.seed < 2**31:
        raise ValueError(f"--seed must lie in 0 to {2**31 - 1}, got {args.seed}.")
    from mer_hf.data.flow_files import FlowMaps, write_flow_maps
    from mer_hf.synthetic.people import draw_people

    with bar("drawing", "subject") as progress:
        drawn = draw_people(args.subjects, args.seed, progress)
    data = FlowMaps(**drawn)
    write_flow_maps(args.out, data)
    counts = ", ".join(f"{name} {count}" for name, count in data.table().counts().items())
    return f"{len(data)} maps of {args.subjects} subjects ({counts}) written to {args.out}."
