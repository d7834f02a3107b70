"""One folder per architecture: exactly what a Hub repository of it receives, and a converter."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

MODULES = ("configuration", "image_processing", "modeling", "video_processing")


def names_of(package: str) -> Callable[[str], type]:
    """Return the `__getattr__` of an architecture's package, which imports a class's module on first use.

    So the configuration can be had before transformers is able to import a network.
    """

    def find(name: str) -> type:
        for kind in MODULES if name[0].isupper() else ():
            module = import_module(f"{package}.{kind}_{package.rpartition('.')[2]}")
            if name in module.__all__:
                return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def classes(kind: str) -> Iterator[type]:
    """Yield the class of one kind, of `MODULES`, of each architecture."""
    for path in sorted(Path(__file__).parent.glob(f"*/{kind}_*.py")):
        module = import_module(f".{path.parent.name}.{path.stem}", __package__)
        yield getattr(module, module.__all__[0])
