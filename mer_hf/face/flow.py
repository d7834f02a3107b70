"""Optical flow between two aligned faces; the code is HTNet's, so that its folder works alone on the Hub."""

from mer_hf.models.htnet.optical_flow import flow_map, optical_flow, optical_strain, span_to_uint8, to_gray

__all__ = ["flow_map", "optical_flow", "optical_strain", "span_to_uint8", "to_gray"]
