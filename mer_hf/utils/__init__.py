"""Files, provenance and work queues: helpers that know nothing of faces."""
