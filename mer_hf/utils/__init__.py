"""Files, provenance, work queues, and what strangers made: helpers that know nothing of faces."""
