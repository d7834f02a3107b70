"""One folder per architecture: exactly what a Hub repository of it receives, and a converter."""
