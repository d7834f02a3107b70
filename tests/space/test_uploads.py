"""What is taken as an upload, and what is refused before it is decoded."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from page import uploads
from page.uploads import CLIP, LONG_VIDEO, Refusal, check, one_line, without_paths

from mer_hf.video.clip import write_clip
from tests.space.odd_files import write_packets, write_sound


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "a face.mp4"
    write_clip(path, np.zeros((10, 32, 64, 3), np.uint8), 20)
    return path


def refused(path, limits=CLIP) -> str:
    with pytest.raises(Refusal) as caught, one_line(path):
        check(path, limits)
    said = str(caught.value)
    assert caught.value.message == said  # what Gradio tells a program
    assert "\n" not in said and not re.search(r"/\w+/", said), said
    return said


def test_a_clip_within_the_limits_is_taken_and_described(clip):
    found = check(clip)
    assert (found.frames, found.width, found.height) == (10, 64, 32)
    assert found.duration_s == pytest.approx(0.5)
    check(clip, LONG_VIDEO)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"size_bytes": 100}, "0.0 MB; the limit is 0 MB"),
        ({"duration_s": 0.4}, "it lasts 0.5 s; the limit is 0.4 s. Cut out the seconds"),
        ({"frames": 9}, "it has 10 frames; the limit is 9."),
        ({"size_wh": (60, 32)}, "64 x 32 pixels; the limit is 60 x 32."),
    ],
)
def test_each_limit_is_named_with_what_was_found(clip, limit, words):
    said = refused(clip, replace(CLIP, **limit))
    assert said.startswith("a face.mp4: ") and words in said


def test_the_limits_themselves_are_within(clip):
    exact = replace(CLIP, size_bytes=clip.stat().st_size, duration_s=0.5, frames=10, size_wh=(32, 64))
    check(clip, exact)


def test_a_picture_of_8k_and_half_an_hour_are_refused(tmp_path):
    assert "7680 x 4320" in refused(write_packets(tmp_path / "8k.mp4", (7680, 4320), 0.1, 2))
    half_an_hour = write_packets(tmp_path / "long.mp4", (64, 48), 1800, 60)
    assert "lasts 30 min; the limit is 20 s" in refused(half_an_hour)
    assert "the limit is 10 min" in refused(half_an_hour, LONG_VIDEO)


def test_errors_that_nobody_foresaw_are_one_line_too(caplog):
    with pytest.raises(Refusal, match="an unforeseen ZeroDivisionError"), one_line():
        1 / 0  # noqa: B018
    assert "ZeroDivisionError" in caplog.text
    with pytest.raises(Refusal, match="more memory than there is"), one_line():
        raise MemoryError


def test_what_is_not_a_video_is_refused(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video at all\n" * 100)
    assert "not a readable mp4" in refused(text)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "0 bytes" in refused(empty)
    assert "no video stream" in refused(write_sound(tmp_path / "sound.m4a"))


def test_a_playlist_opens_no_other_file(clip):
    playlist = clip.with_name("list.mp4")
    playlist.write_text(f"ffconcat version 1.0\nfile '{clip.name}'\n")
    assert "not a readable mp4" in refused(playlist)


def test_links_folders_and_devices_are_refused(clip):
    link = clip.with_name("link.mp4")
    link.symlink_to(clip)
    assert "a link" in refused(link)
    assert "a folder" in refused(clip.parent)
    assert "none.mp4: the upload is gone" in refused(clip.with_name("none.mp4"))
    assert "not a plain file" in refused("/dev/zero")
    assert "the upload is gone" in refused("a\0b.mp4")
    assert "There is no clip yet" in refused(None)
    pipe = clip.with_name("pipe.mp4")
    os.mkfifo(pipe)
    assert "not a plain file" in refused(pipe)


def test_nothing_is_decoded(clip, monkeypatch):
    for name in (
        "mer_hf.video.clip.decode",
        "mer_hf.video.container.decode",
        "mer_hf.video.container.upright",
    ):
        monkeypatch.setattr(name, lambda *_: pytest.fail("decoded"))
    check(clip)


@pytest.mark.parametrize(
    ("text", "path", "shown"),
    [
        ("/tmp/gradio/ab12/my clip.mp4: no", "/tmp/gradio/ab12/my clip.mp4", "my clip.mp4: no"),
        ("open '/etc/ssl/key.pem' failed", "", "open 'key.pem' failed"),
        ("see https://huggingface.co/owner/name", "", "see https://huggingface.co/owner/name"),
        ("owner/name@main: 3 px/s", "", "owner/name@main: 3 px/s"),
        ("one\n two", "", "one two"),
    ],
)
def test_messages_name_files_and_no_folders(text, path, shown):
    assert without_paths(text, path) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.5, "0.5 s"), (20.0, "20 s"), (600.0, "10 min"), (723.2, "12 min 3 s")]
)
def test_durations_read_well(seconds, shown):
    assert uploads.duration(seconds) == shown
