"""Fixtures that several rooms use.

What they need is imported in them: the process that hands out the tests reads this file, and needs nothing.
"""

import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """The folder of a small HTNet with random weights; its processor is set up as the bundled one's."""
    from mer_hf.models.htnet import HTNetImageProcessor
    from tests.models.tiny import tiny_model

    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model("htnet").save_pretrained(folder)
    HTNetImageProcessor(flow_method="dis", mosaic="corrected", normalization="standardize").save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def example():
    """Kind -> an example clip, rendered once."""
    from functools import cache

    from mer_hf.synthetic.clips import example_clip

    return cache(example_clip)


@pytest.fixture(scope="session")
def example_file(example, tmp_path_factory):
    """Kind -> an example clip as mp4, written once."""
    from functools import cache

    from mer_hf.video.clip import write_clip

    folder = tmp_path_factory.mktemp("clips")

    @cache
    def write(kind: str):
        path = folder / f"{kind}.mp4"
        write_clip(path, example(kind).clip.frames, 30)
        return path

    return write


@pytest.fixture(scope="session")
def tracked(example):
    """Kind and geometry -> the track of an example clip and the phases in it, computed once."""
    from functools import cache

    from mer_hf.face.spotting import spot
    from mer_hf.face.tracking import track_face

    @cache
    def track(kind: str, geometry):
        clip = example(kind).clip
        faces = track_face(clip, geometry)
        return faces, spot(faces, clip.timestamps_s)

    return track
