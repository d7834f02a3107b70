"""Registers the configurations by themselves: `AutoConfig` is loaded before a network can be."""

from transformers import AutoConfig

from . import classes

for _class in classes("configuration"):
    AutoConfig.register(_class.model_type, _class)
