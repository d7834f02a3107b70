"""The command line: parse, import what the command needs, call it, print.

A user's mistake ends with exit code 2 and one line on stderr that begins `mer-hf: error:`. A command is a
function of the parsed arguments that returns what is printed. `mer-hf --help` shows its name and docstring.
"""

import argparse
import atexit
import gc
import os
import sys

from mer_hf import __version__

from . import coding, convert, data, evaluation, hub, predict, spot, watch  # noqa: F401 (importing registers them)
from .terminal import COMMANDS, Parser, quiet, refuse_same_files


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of every command, without importing anything heavy."""
    parser = Parser(prog="mer-hf", description="Micro-expression recognition.")
    parser.add_argument("--version", action="version", version=f"mer-hf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, arguments) in sorted(COMMANDS.items()):
        about = run.__doc__ or name
        command = commands.add_parser(name, help=about.rstrip("."), description=about)
        for argument, options in arguments:
            command.add_argument(argument, **options)
        command.set_defaults(run=run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: Exit code: 0; 1 where compared numbers differ; 2 after a user's mistake; 130 after Ctrl-C and
        141 where the reader of the output has left, both as in a shell.
    """
    atexit.register(gc.freeze)  # a last search for garbage in all that torch has loaded takes a second
    try:
        try:
            return _main(argv)
        finally:
            sys.stdout.flush()
    except OSError as error:
        # The rest of the buffer is written to nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has enough, such as head
            return 141
        # The output goes to a file, on a disk that is full.
        print(f"mer-hf: error: the output could not be written: {error}", file=sys.stderr)
        return 2


def _main(argv: list[str] | None) -> int:
    args = build_parser().parse_args(argv)
    try:
        refuse_same_files(args)
        args.argv = sys.argv[1:] if argv is None else argv
        args.own_process = argv is None
        with quiet():
            output = args.run(args)
    except KeyboardInterrupt:
        print("mer-hf: interrupted.", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"mer-hf: error: {message}", file=sys.stderr)
        return 2
    if output:
        print(output)
    return getattr(args, "exit_code", 0)
