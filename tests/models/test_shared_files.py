"""Files that stand in several model folders, because a folder must run alone, are the same in each."""

from pathlib import Path

import pytest

import mer_hf.models

FOLDER = Path(mer_hf.models.__file__).parent


@pytest.mark.parametrize("name", ["face_frames.py", "face_video.py"])
def test_every_copy_is_the_same(name):
    copies = [path.read_bytes() for path in FOLDER.glob(f"*/{name}")]
    assert len(copies) > 1 and len(set(copies)) == 1
