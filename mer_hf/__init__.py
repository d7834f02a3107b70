"""Micro-expression recognition for the Hugging Face ecosystem.

Importing the package registers its architectures with transformers' Auto classes, and its pipeline. Only the
command line leaves that to the command that was asked for: `mer-hf --help` need not wait seconds for torch.
"""

import sys
from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

_HOMES = {
    "MicroExpressionPipeline": "mer_hf.inference.pipeline",
    "Prediction": "mer_hf.inference.pipeline",
    "bundled": "mer_hf.loading",
    "read_clip": "mer_hf.video.clip",
}
__all__ = ["MicroExpressionPipeline", "Prediction", "__version__", "bundled", "read_clip"]


def __getattr__(name: str):
    """Return a public name, importing its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


def _is_the_command_line() -> bool:
    """Return whether this process was started as `mer-hf` or as `python -m mer_hf`."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # what it is while the package of the module that follows is being imported
        return sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] == [__name__]
    return Path(program).stem == "mer-hf"


if not _is_the_command_line():
    from . import registry  # noqa: F401 (importing it registers)
    from .inference import transformers_pipeline  # noqa: F401 (the same)
