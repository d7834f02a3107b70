"""Makes `page` importable, as it is for `python space/app.py`; small networks, clips and the served page."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mer_hf import loading, registry
from mer_hf.video.clip import write_clip
from tests.models.tiny import tiny_model, tiny_processor
from tests.space.odd_files import write_packets, write_sound

SPACE = str(Path(__file__).parents[2] / "space")
if SPACE not in sys.path:
    sys.path.insert(0, SPACE)


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory):
    """Small random networks in place of the bundled ones.

    HTNet decides as the bundled one does, and MMNet takes no motion for an expression.
    """
    folder = tmp_path_factory.mktemp("checkpoints")
    for key in registry.ARCHITECTURES:
        tiny_model(key).save_pretrained(folder / f"{key}-synthetic")
        tiny_processor(key).save_pretrained(folder / f"{key}-synthetic")
    bundled = loading.CHECKPOINTS / "htnet-synthetic" / "calibration.json"
    shutil.copy(bundled, folder / "htnet-synthetic")
    never = json.loads(bundled.read_text())
    (folder / "mmnet-synthetic" / "calibration.json").write_text(json.dumps(never | {"threshold": 1.0}))
    return folder


@pytest.fixture(scope="session")
def engine(tiny_checkpoints):
    """An engine that has a small network in memory under each bundled name."""
    from page.engine import Engine

    engine = Engine("cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", tiny_checkpoints)
        for key in registry.ARCHITECTURES:
            engine.networks.get(key)
    return engine


@pytest.fixture(scope="session")
def visitors_folder(tmp_path_factory):
    """The folder of uploads and results, in place of the system's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("visitors")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def url(engine, example_file, visitors_folder):
    """The address of the served page, with small networks and two examples."""
    from tests.space.browser import load_app, served

    paths = {kind: example_file(kind) for kind in ("positive", "still")}
    with served(load_app(), engine=engine, paths=paths) as url:
        yield url


@pytest.fixture(scope="session")
def faceless(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "faceless.mp4"
    write_clip(path, np.full((10, 120, 160, 3), 90, np.uint8), 30)
    return path


@pytest.fixture(scope="session")
def two_faces(example, tmp_path_factory):
    """The same face twice in one picture."""
    half = example("positive").clip.frames[:, :, 160:480]
    path = tmp_path_factory.mktemp("clips") / "two.mp4"
    write_clip(path, np.concatenate([half, half], axis=2), 30)
    return path


@pytest.fixture(scope="session")
def bad_clips(faceless, tmp_path_factory):
    """Name -> a file without an answer, and a word of the reason that must be shown."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "words.mp4").write_text("no video")
    (folder / "empty.mp4").write_bytes(b"")
    write_sound(folder / "sound.mp4")
    write_packets(folder / "long.mp4", (64, 48), 1800, 60)
    write_packets(folder / "large.mp4", (7680, 4320), 0.1, 2)
    return {
        "not a video": (folder / "words.mp4", "words.mp4"),
        "0 bytes": (folder / "empty.mp4", "0 bytes"),
        "audio only": (folder / "sound.mp4", "sound.mp4"),
        "no face": (faceless, "face"),
        "30 minutes": (folder / "long.mp4", "30 min"),
        "8K": (folder / "large.mp4", "7680 x 4320"),
    }
