"""Micro-expressions that nobody performed: action units, displacement fields, flow maps and clips."""

from .expressions import CLASSES
from .flow_maps import FlowMapSettings, SyntheticFlowMaps

__all__ = ["CLASSES", "FlowMapSettings", "SyntheticFlowMaps"]
