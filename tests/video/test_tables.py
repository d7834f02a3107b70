import numpy as np
import pytest

from mer_hf.video.clip import read_clip
from mer_hf.video.container import ClipError, survey_video
from tests.fuzz.seeds import COUNT, FPS, write_video
from tests.fuzz.videos import VALUES, edit_table


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "clip.mp4"
    frames = np.stack([np.full((48, 64, 3), 20 * i, np.uint8) for i in range(COUNT)])
    write_video(path, frames, "libx264")
    return path


def test_sound_tables_are_not_doubted(sound):
    assert read_clip(sound).warnings == ()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("stts.samples", "half", "declare 5 and 10 frames, and 10 were read"),
        ("stsz.count", "half", "declare 5 and 10 frames, and 5 were read"),
        ("stsc.samples", "one less", "declare 10 frames, and 9 were read"),
        ("elst.duration", "half", "declare 10 frames, and 5 were read"),
        ("stts.delta", "half", "0.167 s and 0.367 s as its length"),
        ("mdhd.timescale", "double", "0.167 s and 0.333 s as its length"),
        ("mdhd.duration", "double", "0.333 s and 0.733 s as its length"),
    ],
)
def test_tables_that_contradict_each_other_are_told(sound, tmp_path, field, value, words):
    path = tmp_path / "clip.mp4"
    path.write_bytes(sound.read_bytes())
    edit_table(path, field, VALUES[value])
    assert words in " ".join(read_clip(path).warnings)


@pytest.mark.parametrize(
    "field", ["mdhd.timescale", "stts.samples", "stts.delta", "stsz.count", "stco.first"]
)
@pytest.mark.parametrize("value", VALUES)
def test_no_table_changes_frames_or_times_without_a_word(sound, tmp_path, field, value):
    path = tmp_path / "clip.mp4"
    path.write_bytes(sound.read_bytes())
    edit_table(path, field, VALUES[value])
    try:
        found = survey_video(path)
    except ClipError:
        return
    same = found.frames == COUNT and np.ptp(found.times_s) == pytest.approx((COUNT - 1) / FPS, abs=0.02)
    assert same or found.doubts or found.damage
