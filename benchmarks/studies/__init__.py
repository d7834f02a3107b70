"""Longer questions than `make bench` asks: each module says what it answers and how long it takes."""
