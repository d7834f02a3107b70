"""`mer-hf convert`: checkpoints of the original code."""

import argparse
import importlib
from pathlib import Path

from .terminal import SEVERAL, argument, command


def field(text: str) -> tuple[str, object]:
    """Parse `field=value`, with the value in JSON."""
    from mer_hf.utils.untrusted import parse_json

    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"expected FIELD=VALUE, got {text!r}")
    try:
        return name, parse_json(value, name)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a JSON value for {name}, such as 3, [2, 2, 8] or '\"gelu\"', got {value[:40]!r}"
        ) from None


@command(
    argument("architecture", "ARCHITECTURE", "such as htnet"),
    argument("original", "ORIGINAL.pth", "the checkpoint", type=Path),
    argument("out_dir", "OUT_DIR", "the folder to write", type=Path),
    argument("--config", "FIELD=VALUE", "what the weights do not show, in JSON", type=field, **SEVERAL),
)
def convert(args: argparse.Namespace) -> str:
    """Turn an original checkpoint into a folder for from_pretrained."""
    from mer_hf.registry import ARCHITECTURES

    known = [key for key, architecture in ARCHITECTURES.items() if architecture.convert_module]
    if args.architecture not in known:
        raise ValueError(f"unknown architecture {args.architecture!r}. Choose one of {', '.join(known)}.")
    converter = importlib.import_module(ARCHITECTURES[args.architecture].convert_module)
    notes = converter.convert(args.original, args.out_dir, dict(args.config))
    return "\n".join([*notes, f"Written to {args.out_dir}."])
