"""Exchange with the programs of people who code faces: ELAN, BORIS, OpenFace's tables, FACS sheets."""
