"""Files, provenance and work queues: what every room may use and what knows no face."""
