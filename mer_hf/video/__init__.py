"""Videos and folders of frames: reading, writing, and what is in a file."""
