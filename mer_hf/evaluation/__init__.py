"""Metrics, the log of predictions and its report, and checkpoints measured on flow maps and test clips."""
