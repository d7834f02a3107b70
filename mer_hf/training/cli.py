"""The command line of training: parse, import what is heavy, then train, or train and test by a protocol."""

import sys

from mer_hf.training.config import TrainingError, parse_args


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
        if config.protocol:
            from .folds import run_protocol

            run_protocol(config)
        else:
            from mer_hf.training.loop import train

            train(config)
    except TrainingError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; add --resume to go on with {config.output_dir}", file=sys.stderr)
        return 130
    return 0
