"""The command line, one file per theme.

It parses, imports what the command needs, calls it and prints. Mistakes of the user end with exit code 2
and one line on stderr that begins `mer-hf: error:`.
"""

import argparse
import os
import sys

from mer_hf import __version__

from . import clips, data, deploy, hub, models, networks, predict, publish_data, score, spot
from .terminal import Parser, quiet


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; building it imports nothing heavy."""
    parser = Parser(prog="mer-hf", description="Micro-expression recognition.")
    parser.add_argument("--version", action="version", version=f"mer-hf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for theme in (predict, spot, score, clips, networks, data, models, hub, publish_data, deploy):
        theme.register(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: Exit code: 0, or 1 where what was compared differs, or 2 where the user has something to mend,
        or 130 after Ctrl-C, or 141 where nobody reads its output any more, both as a shell counts.
    """
    try:
        try:
            return _main(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough, such as head. What is left in the buffer is then written to nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _main(argv: list[str] | None) -> int:
    args = build_parser().parse_args(argv)
    try:
        with quiet():
            output = args.run(args)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"mer-hf: error: {message}", file=sys.stderr)
        return 2
    if output:
        print(output)
    return getattr(args, "exit_code", 0)
