"""The command line of training."""

import sys

from mer_hf.utils.files import FULL

from .config import TrainingError, parse_args


def main(arguments: list[str] | None = None) -> int:
    """Train as the flags say, or train and test by a protocol.

    Args:
        arguments (`list[str]`, *optional*): Flags; those of the command line by default.

    Returns:
        `int`: Exit code: 0, 2 for a mistake in the call or a full disk (one line on stderr), or 130 if
        interrupted.
    """
    try:
        config = parse_args(arguments)
        if config.protocol:
            from .folds import run_protocol as run
        else:
            from .loop import train as run
        run(config)
    except TrainingError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        advice = ". Make room, and add --resume: what was saved is whole" if error.errno in FULL else ""
        print(f"train.py: error: {error}{advice}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; add --resume to continue {config.output_dir}", file=sys.stderr)
        return 130
    return 0
