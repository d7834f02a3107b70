"""Decoding ahead of the frame that is asked for; tests of files and their damages are in test_clip.py."""

import pytest

from mer_hf.video import container
from mer_hf.video.container import ClipError, Frame, VideoInfo


def test_frames_are_decoded_ahead_and_the_rest_is_let_go():
    taken, ended = [], []

    def frames():
        try:
            for i in range(100):
                taken.append(i)
                yield Frame(i, i / 30, None)
        finally:
            ended.append(True)

    ahead = container._ahead(frames(), 5)
    assert [next(ahead).image for _ in range(3)] == [0, 1, 2]
    ahead.close()
    assert ended and len(taken) <= 3 + 5


def test_an_error_comes_after_the_frames_before_it():
    def frames():
        yield Frame(0, 0.0, None)
        raise ClipError("broken")

    ahead = container._ahead(frames(), 5)
    assert next(ahead).image == 0
    with pytest.raises(ClipError, match="broken"):
        next(ahead)


def test_a_large_frame_is_not_decoded_many_at_a_time(monkeypatch):
    counts = []
    monkeypatch.setattr(container, "_ahead", lambda frames, count: counts.append(count))
    for width, height in ((96, 64), (1280, 720), (7680, 4320)):
        container.decode("a.mp4", None, VideoInfo(1, True, width=width, height=height))
    assert counts == [32, 21, 0]  # of none ahead, the one that is asked for is decoded
