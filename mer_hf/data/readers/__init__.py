"""Readers of the datasets' own annotation files and folders, by name: `READERS`.

They read what the user has a licence for, and download nothing.
"""

from .base import Reader
from .composite import MEGC2019
from .own_table import TABLE
from .sets import CASME, CASME2, CASME3, FOURDME, MMEW, SAMM
from .smic import SMIC

READERS: dict[str, Reader] = {
    reader.name: reader for reader in (CASME2, SAMM, SMIC, CASME3, MMEW, FOURDME, CASME, MEGC2019, TABLE)
}

__all__ = ["READERS", "Reader"]
