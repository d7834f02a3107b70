"""`mer-hf convert`: checkpoints of the four networks."""

import argparse
import importlib
from pathlib import Path

from .terminal import field


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    _add_convert(commands)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    convert = commands.add_parser(
        "convert", help="turn an original checkpoint into a folder for from_pretrained"
    )
    convert.add_argument("architecture", metavar="ARCHITECTURE", help="such as htnet")
    convert.add_argument("original", type=Path, metavar="ORIGINAL.pth", help="the checkpoint")
    convert.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="the folder to write")
    convert.add_argument(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        type=field,
        metavar="FIELD=VALUE",
        help="fields of the config that the weights do not show; values in JSON",
    )
    convert.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> str:
    from mer_hf.registry import ARCHITECTURES

    if args.architecture not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {args.architecture!r}. Choose one of {', '.join(ARCHITECTURES)}."
        )
    converter = importlib.import_module(ARCHITECTURES[args.architecture].convert_module)
    notes = converter.convert(args.original, args.out_dir, dict(args.config))
    return "\n".join([*notes, f"Written to {args.out_dir}."])
