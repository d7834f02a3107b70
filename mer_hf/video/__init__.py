"""Videos and folders of frames: reading, writing, and what a file holds."""
