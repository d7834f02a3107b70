"""Micro-expression recognition for the Hugging Face ecosystem.

Importing the package registers its architectures with transformers' Auto classes.
"""

from .registry import bundled

__version__ = "0.1.0"

__all__ = ["__version__", "bundled"]
