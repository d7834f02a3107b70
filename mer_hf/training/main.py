"""The command line of training: parse, then import what is heavy, then train."""

import sys

from .config import TrainingError, parse_args


def main(arguments: list[str] | None = None) -> int:
    """Train as the flags say.

    Args:
        arguments (`list[str]`, *optional*): Flags; the command line's by default.

    Returns:
        `int`: Exit code: 0, or 2 for a mistake of the caller's, told in one line on stderr, or 130 if
        interrupted.
    """
    try:
        config = parse_args(arguments)
        from .loop import train

        train(config)
    except TrainingError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; add --resume to go on with {config.output_dir}", file=sys.stderr)
        return 130
    return 0
