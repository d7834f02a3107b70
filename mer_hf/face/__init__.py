"""Measure a face without a network, in reading order: landmarks, tracking, registration, flow, spotting."""
