"""Micro-expression recognition for the Hugging Face ecosystem.

Importing the package makes its architectures known to transformers' Auto classes, and its pipeline to
`transformers.pipeline`: at once where transformers has loaded them, else as soon as it loads them. The import
itself takes milliseconds.
"""

import gc
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from typing import ClassVar

__version__ = "0.2.0"

_HOMES = {
    "MicroExpressionPipeline": "mer_hf.inference.pipeline",
    "Prediction": "mer_hf.inference.pipeline",
    "bundled": "mer_hf.loading",
    "read_clip": "mer_hf.video.clip",
}
__all__ = ["MicroExpressionPipeline", "Prediction", "__version__", "bundled", "read_clip"]

_REGISTERED_BY = {
    "transformers.models.auto.configuration_auto": "mer_hf.registry",
    "transformers.pipelines": "mer_hf.inference.transformers_pipeline",
}
"""Module of transformers that is loaded before Auto classes or pipelines are -> ours that registers there."""


class _Registration:
    """Finds modules where they are; what is to be registered is so when the outermost import has ended.

    Not before: the modules of transformers and ours import each other, and half of one has no classes yet.
    """

    under_way: ClassVar[list[str]] = []
    loaded: ClassVar[list[str]] = []

    @classmethod
    def find_spec(cls, name: str, path=None, target=None) -> ModuleSpec | None:
        """Return the spec of a module of transformers or of this package."""
        spec = PathFinder.find_spec(name, path) if name.startswith(("transformers.", "mer_hf.")) else None
        if spec and spec.loader:
            load = spec.loader.exec_module

            def load_and_register(module) -> None:
                cls.under_way.append(name)
                try:
                    load(module)
                finally:
                    cls.under_way.pop()
                if name in _REGISTERED_BY:
                    cls.loaded.append(name)
                while cls.loaded and not cls.under_way:
                    import_module(_REGISTERED_BY[cls.loaded.pop(0)])

            spec.loader.exec_module = load_and_register
        return spec


def __getattr__(name: str):
    """Return a public name, importing its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    collects = gc.isenabled()
    gc.disable()  # the collector would look through all that torch has loaded, again and again
    try:
        return getattr(import_module(_HOMES[name]), name)
    finally:
        if collects:
            gc.enable()


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


sys.meta_path.insert(0, _Registration)
for _loaded in _REGISTERED_BY.keys() & sys.modules.keys():
    import_module(_REGISTERED_BY[_loaded])
