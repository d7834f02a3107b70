"""Training: one dataclass per run, a loop on Accelerate, and a folder that survives being killed."""
