"""Kinds of input that do not end as they should yet: `make test` passes over them, `make fuzz` does not."""

KNOWN: tuple[str, ...] = ("checkpoints/weights", "runs/logs", "page/clips", "page/networks")
