"""Clips become answers: one clip, a long video, a folder."""
