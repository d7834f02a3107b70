"""Metrics on plain arrays, and what scores a checkpoint with them."""
