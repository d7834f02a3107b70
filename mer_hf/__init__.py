"""Micro-expression recognition for the Hugging Face ecosystem.

Importing the package registers its architectures with transformers' Auto classes. Only the command line, when
it is what this process was started for, leaves that to the command: `mer-hf --help` need not wait seconds for
torch.
"""

import sys
from pathlib import Path

__version__ = "0.1.0"

__all__ = ["__version__", "bundled"]


def __getattr__(name: str):
    """`bundled`, which comes with the registry."""
    if name == "bundled":
        from .registry import bundled

        return bundled
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _is_the_command_line() -> bool:
    """Whether this process was started as `mer-hf` or as `python -m mer_hf`."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # what it is while the package of the module that follows is being imported
        return sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] == [__name__]
    return Path(program).stem == "mer-hf"


if not _is_the_command_line():
    from . import registry  # noqa: F401 (importing it registers)
