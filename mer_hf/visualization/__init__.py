"""A result for the eye: pictures, magnified motion, replays and reports."""
