"""Files that stand in several model folders, because a folder must run alone, are the same in each."""

from pathlib import Path

import mer_hf.models

FOLDER = Path(mer_hf.models.__file__).parent


def test_every_copy_of_face_frames_is_the_same():
    copies = {path.read_bytes() for path in FOLDER.glob("*/face_frames.py")}
    assert len(list(FOLDER.glob("*/face_frames.py"))) > 1 and len(copies) == 1
