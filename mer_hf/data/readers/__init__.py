"""Readers of the datasets' own annotation files and folders, by name: `READERS`.

They read what the user has a licence for, and download nothing.
"""

from .base import Reader
from .composite import MEGC2019
from .own_table import TABLE
from .sets import LAYOUTS
from .smic import SMIC

_ALL = (*(layout.reader() for layout in LAYOUTS.values()), SMIC, MEGC2019, TABLE)
READERS: dict[str, Reader] = {reader.name: reader for reader in _ALL}
