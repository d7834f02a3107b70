"""Readers of the datasets' own annotation files and folders, by name: `READERS`.

They read what the user has a licence for, and download nothing.
"""

from .base import Reader
from .composite import MEGC2019
from .own_table import TABLE
from .sets import LAYOUTS
from .smic import SMIC

READERS: dict[str, Reader] = {name: layout.reader() for name, layout in LAYOUTS.items()} | {
    reader.name: reader for reader in (SMIC, MEGC2019, TABLE)
}

__all__ = ["READERS", "Reader"]
