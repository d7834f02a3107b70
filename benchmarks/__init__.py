"""Measurements, each in a module with a `run() -> dict`; `make bench` runs them all."""
