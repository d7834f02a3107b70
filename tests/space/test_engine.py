"""The engine: what it answers, what it keeps, and that visitors do not get into each other's way."""

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest
from page import engine as engine_module
from page import networks as networks_module
from page.engine import Analysis, Engine, Refusal
from page.files import Files
from page.networks import Networks, choose_device, on_gpu

from mer_hf import loading, registry
from mer_hf.face.tracking import FaceTrack
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.video.clip import write_clip
from tests.models.tiny import tiny_model, tiny_processor


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Small random networks in place of the bundled ones."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for key in registry.ARCHITECTURES:
        tiny_model(key).save_pretrained(folder / f"{key}-synthetic")
        tiny_processor(key).save_pretrained(folder / f"{key}-synthetic")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", folder)
        yield folder


@pytest.fixture(scope="module")
def engine(tiny):
    return Engine("cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Ten small frames without a face, for tests that put a stand-in in the place of tracking."""
    path = tmp_path_factory.mktemp("clips") / "noise.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (10, 32, 64, 3)).astype(np.uint8)
    write_clip(path, frames, 20)
    return path


@pytest.fixture
def stand_in(monkeypatch):
    """Tracking that counts, waits until as many run together as a test wants, and gives a still face."""

    class StandIn:
        calls = 0
        together = most_together = 0
        wanted_together = 1
        lock = threading.Lock()
        enough = threading.Event()

        def __call__(self, clip, geometry):
            with self.lock:
                self.calls += 1
                self.together += 1
                self.most_together = max(self.most_together, self.together)
                if self.together >= self.wanted_together:
                    self.enough.set()
            self.enough.wait(20)
            with self.lock:
                self.together -= 1
            count, size = len(clip.frames), geometry.size
            rest = np.tile(np.linspace(40, 180, 478)[:, None], (count, 1, 2)).astype(np.float32)
            face = np.full((count, size, size, 3), 90, np.uint8)
            return FaceTrack(face, rest, np.zeros((count, 2, 3), np.float32))

    stand_in = StandIn()
    monkeypatch.setattr(engine_module, "track_face", stand_in)
    return stand_in


def copies(clip, folder, count, same):
    """Files with the same or with other content."""
    paths = [folder / f"{i}.mp4" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(clip.read_bytes() + (b"" if same else b"\0\0\0\x0cfree" + i.to_bytes(4, "big")))
    return paths


def test_the_answer_is_the_pipelines(engine, example_file):
    told = []
    analysis = engine.analyse(example_file("positive"), "htnet", progress=lambda *given: told.append(given))
    alone = MicroExpressionPipeline.from_pretrained("htnet-synthetic")(example_file("positive"))
    here = analysis.prediction
    assert here.scores == alone.scores and here.outcome == alone.outcome
    np.testing.assert_array_equal(here.relevance, alone.relevance)
    assert analysis.model == "htnet-synthetic" and analysis.architecture == "htnet"
    assert analysis.clip_fps == pytest.approx(30) and len(analysis.track.frames) == 60
    fractions, stages = zip(*told, strict=True)
    assert list(fractions) == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert stages[0] == "Checking the file" and "Following the face" in stages


def test_given_phases_rerun_only_the_classification(engine, example_file, monkeypatch):
    spotted = engine.analyse(example_file("positive"), "htnet").spotted
    monkeypatch.setattr(engine_module, "track_face", lambda *_: pytest.fail("tracked again"))
    monkeypatch.setattr(engine_module, "read_clip", lambda *_: pytest.fail("read again"))
    analysis = engine.analyse(example_file("positive"), "htnet", onset=2, apex=9, offset=15)
    phases = analysis.prediction.phases
    assert (phases.onset, phases.apex, phases.offset, phases.source) == (2, 9, 15, "given")
    assert (analysis.spotted.onset, analysis.spotted.apex) == (spotted.onset, spotted.apex)
    with pytest.raises(Refusal, match="expected onset <= apex <= offset"):
        engine.analyse(example_file("positive"), "htnet", onset=9, apex=2)


def test_a_still_face_is_an_answer_and_no_face_is_refused(engine, example_file, clip):
    assert engine.analyse(example_file("still"), "htnet").prediction.outcome == "no_motion"
    with pytest.raises(Refusal, match="no face was found"):
        engine.analyse(clip, "htnet")


def test_comparing_reads_once_and_follows_once_for_each_geometry(tiny, stand_in, clip, monkeypatch):
    reads = []
    read = engine_module.read_clip
    monkeypatch.setattr(engine_module, "read_clip", lambda *a, **k: reads.append(1) or read(*a, **k))
    answers = Engine("cpu").compare(clip, [*registry.ARCHITECTURES, "no model"])
    geometries = {tiny_processor(key).face_geometry["size"] for key in registry.ARCHITECTURES}
    assert len(reads) == 1 and stand_in.calls >= len(geometries)
    assert isinstance(answers.pop("no model"), Refusal)
    assert {key: each.architecture for key, each in answers.items()} == {key: key for key in answers}
    assert all(isinstance(each, Analysis) for each in answers.values())


@pytest.mark.parametrize("same", [True, False])
def test_one_clip_asked_for_at_once_is_followed_once(tiny, stand_in, clip, tmp_path, same):
    engine = Engine("cpu", at_once=3)
    stand_in.wanted_together = 1 if same else 3
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: engine.analyse(path, "htnet"), copies(clip, tmp_path, 8, same)))
    assert stand_in.calls == (1 if same else 8)
    assert stand_in.most_together == (1 if same else 3)
    assert len({id(each.track) for each in answers}) == stand_in.calls


def test_a_clip_that_failed_is_tried_again_and_holds_nobody_up(tiny, stand_in, clip, monkeypatch):
    engine = Engine("cpu")
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "track_face", lambda *_: 1 / 0)
        with pytest.raises(Refusal, match=r"not foreseen \(ZeroDivisionError"):
            engine.analyse(clip, "htnet")
    assert engine.analyse(clip, "htnet").prediction.outcome == "no_motion"
    assert not engine._same_clip._locks


def test_tracked_clips_stay_within_their_bytes_and_the_oldest_go(tiny, stand_in, clip, tmp_path):
    paths = copies(clip, tmp_path, 4, same=False)
    size = Engine("cpu").analyse(clip, "htnet").track.frames.nbytes
    engine = Engine("cpu", most_tracked_bytes=int(2.5 * size))
    stand_in.calls = 0
    for path in (paths[0], paths[1], paths[0], paths[2], paths[0]):  # the third looks at 0: 1 goes
        engine.analyse(path, "htnet")
        assert engine._tracked.held_bytes <= 2.5 * size
    assert stand_in.calls == 3
    engine.analyse(paths[1], "htnet")
    assert stand_in.calls == 4
    small = Engine("cpu", most_tracked_bytes=10)
    assert small.analyse(clip, "htnet").prediction.outcome == "no_motion"
    assert small._tracked.held_bytes == 0


def test_large_frames_are_read_smaller_and_that_is_said(tiny, stand_in, tmp_path, monkeypatch):
    path = tmp_path / "large.mp4"
    write_clip(path, np.zeros((10, 720, 1280, 3), np.uint8), 20)
    monkeypatch.setattr(engine_module, "MOST_DECODED_BYTES", 10 * 360 * 640 * 3)
    warnings = Engine("cpu").analyse(path, "htnet").prediction.warnings
    assert "1280 x 720 pixels were read at 640 x 360" in warnings[0]


def test_messages_show_no_path(engine, tmp_path):
    text = tmp_path / "some text.mp4"
    text.write_text("x")
    for path in (text, tmp_path, "/etc/passwd"):
        with pytest.raises(Refusal) as caught:
            engine.analyse(path, "htnet")
        assert "/" not in str(caught.value).replace("mp4, mov", "")


def test_there_is_one_network_of_each_architecture(tiny, monkeypatch):
    networks = Networks("cpu")
    first = networks.get("htnet")
    assert networks.get("htnet-synthetic") is first and networks.get("mmnet") is not first
    hub = networks_module.HubModel("me/tiny", "0" * 40, 1, "htnet")
    monkeypatch.setattr(networks_module, "look_up", lambda *_: hub)
    monkeypatch.setattr(Networks, "_fetch", lambda *_: tiny / "htnet-synthetic")
    other = networks.get("me/tiny")
    assert other.name == f"me/tiny@{'0' * 40}" == other.pipeline.name
    assert networks.get("me/tiny@main") is other and networks.get(other.name) is other
    assert set(networks._held) == {"htnet", "mmnet"}
    assert networks.get("htnet") is not first


@pytest.mark.parametrize(
    "name", ["", "../htnet", "/etc/passwd", "a/b/c", "htnet-synthetic/..", "space", None]
)
def test_a_name_is_never_a_path(name, monkeypatch):
    monkeypatch.setattr(networks_module, "look_up", lambda *_: pytest.fail("the Hub was asked"))
    with pytest.raises(Refusal, match="there is no model"):
        Networks("cpu").get(name)


def test_a_folder_that_looks_like_a_repository_is_not_loaded(tiny, tmp_path, monkeypatch):
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "tiny").symlink_to(tiny / "htnet-synthetic")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match="loads no models of the Hub"):
        Networks("cpu", most_hub_bytes=0).get("me/tiny")


def test_devices_that_are_not_there_are_refused():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="none of auto, cpu, cuda, mps"):
        choose_device("tpu")
    with pytest.raises(ValueError, match="is not on this machine"):
        choose_device("mps")


def test_zero_gpu_is_asked_where_it_is(monkeypatch, tiny, stand_in, clip):
    """A stand-in for the package `spaces`: arguments and value go through a pickle, as they do there."""
    spaces = ModuleType("spaces")
    asked = []

    def gpu(function):
        def call(*args):
            asked.append(args[0])
            return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(args)))))

        return call

    spaces.GPU = gpu
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    assert on_gpu(len) is len  # not on such a Space
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    assert choose_device("auto").type == "cuda"
    engine = Engine("cpu")
    engine.warm_up(clip)
    assert not asked and set(engine.networks._held) == set(registry.ARCHITECTURES)
    assert engine.analyse(clip, "htnet").prediction.outcome == "no_motion"
    assert asked == ["htnet-synthetic"]
    monkeypatch.setitem(sys.modules, "spaces", None)
    assert on_gpu(len) is len


def test_files_are_new_private_and_removed_by_age(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    files = Files(most_age_s=100)
    first, second = files.new(".mp4", "replay"), files.new(".mp4", "replay")
    assert first != second and first.name == "replay.mp4" and not first.exists()
    assert files.folder.stat().st_mode & 0o077 == 0
    first.write_text("x")
    kept = tmp_path / "gradio" / "full" / "clip.mp4"
    old = [first.parent, kept.parent, tmp_path / "gradio" / "empty", tmp_path / "mer-hf-page-killed"]
    new = tmp_path / "gradio" / "new"
    for folder in (*old, new):
        folder.mkdir(parents=True, exist_ok=True)
    kept.write_text("x")
    for folder in old:
        os.utime(folder, (time.time() - 400,) * 2)
    files.new(".html")
    assert [folder.exists() for folder in old] == [False, True, False, False]
    assert second.parent.exists() and new.exists()


SCRIPT = """
import os, sys, time
from pathlib import Path
from page.files import Files
files = Files(most_age_s=1)
files.hold_cache()
upload = Path(os.environ["GRADIO_TEMP_DIR"]) / "upload" / "clip.mp4"
upload.parent.mkdir(parents=True)
upload.write_text("x")
path = files.new(".txt")
path.write_text("x")
time.sleep(4)
print(path.exists(), upload.exists())
files.new(".txt").write_text("y")
"""


def test_a_folder_that_ended_is_not_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = Files()
    files.new(".txt").write_text("x")
    files._end()
    with pytest.raises(FileNotFoundError):
        files.remove_old()  # as the thread does that was at it when the process ended
    assert list(tmp_path.iterdir()) == []


def test_files_go_without_another_request_and_all_at_exit(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("GRADIO_TEMP_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["False", "True"], done.stderr
    assert list(tmp_path.iterdir()) == []
