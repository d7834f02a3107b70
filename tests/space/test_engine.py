"""The engine: what it answers, what it keeps, and that visitors do not get into each other's way."""

import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from page import analyse, uploads
from page import engine as engine_module
from page import networks as networks_module
from page.engine import Analysis, Engine, Refusal
from page.memory import Memory
from page.networks import Networks, choose_device, on_gpu

from mer_hf import loading, registry
from mer_hf.face.parts import FaceClip
from mer_hf.face.tracking import FaceTrack
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.video.clip import write_clip
from tests.models.tiny import tiny_processor


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Ten small frames without a face, for tests that replace tracking by a stand-in."""
    path = tmp_path_factory.mktemp("clips") / "noise.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (10, 32, 64, 3)).astype(np.uint8)
    write_clip(path, frames, 20)
    return path


@pytest.fixture
def tracked(monkeypatch):
    """Replaces tracking: every clip shows a still face. Lists how many clips were tracked together."""
    calls, running = [], []

    def track_face(clip, geometry, face=None):
        running.append(clip)
        calls.append(len(running))
        time.sleep(0.05)
        running.pop()
        count, size = len(clip.frames), geometry.size
        rest = np.tile(np.linspace(40, 180, 478)[:, None], (count, 1, 2)).astype(np.float32)
        face = np.full((count, size, size, 3), 90, np.uint8)
        return FaceTrack(face, rest, np.zeros((count, 2, 3), np.float32))

    monkeypatch.setattr(engine_module, "track_face", track_face)
    return calls


@pytest.fixture
def new_engine(engine):
    """Makes engines with nothing in memory but the small networks."""

    def make(**settings):
        made = Engine("cpu", **settings)
        made.networks = engine.networks
        return made

    return make


def copies(clip, folder, count, same=False):
    """Files with the same or with other content."""
    paths = [folder / f"{i}.mp4" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(clip.read_bytes() + (b"" if same else b"\0\0\0\x0cfree" + i.to_bytes(4, "big")))
    return paths


def test_the_answer_is_the_pipelines(engine, tiny_checkpoints, example_file):
    reports = []
    analysis = engine.analyse(
        example_file("positive"), "htnet", progress=lambda *report: reports.append(report)
    )
    alone = MicroExpressionPipeline.from_pretrained(tiny_checkpoints / "htnet-synthetic")
    expected, answer = alone(example_file("positive")), analysis.prediction
    assert answer.scores == expected.scores and answer.outcome == expected.outcome
    np.testing.assert_array_equal(answer.relevance, expected.relevance)
    assert analysis.model == "htnet-synthetic" and analysis.architecture == "htnet"
    assert len(analysis.track.frames) == 60
    fractions, stages = zip(*reports, strict=True)
    assert list(fractions) == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert stages[0] == "Checking the file"


def test_a_file_is_read_once_and_a_network_asked_once_for_an_answer(
    new_engine, tracked, clip, tmp_path, monkeypatch
):
    calls = []

    def count(owner, name):
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **k: calls.append(name) or function(*a, **k))

    count(uploads, "survey_video")
    count(engine_module, "read_clip")
    monkeypatch.setattr("mer_hf.video.clip.survey_video", lambda *_, **__: pytest.fail("read again"))
    engine = new_engine()
    count(engine, "_classify")
    (path,) = copies(clip, tmp_path, 1)
    answer = engine.analyse(path, "htnet")
    assert calls == ["survey_video", "read_clip", "_classify"]
    assert engine.analyse(path, "htnet-synthetic") is answer  # as for the files that follow an answer
    assert len(calls) == 3
    engine.analyse(path, "htnet", 2, 4, 6)
    assert calls[3:] == ["_classify"]
    path.write_bytes(path.read_bytes() + b"\0\0\0\x08free")
    assert engine.analyse(path, "htnet").clip_sha256 != answer.clip_sha256


def test_given_phases_rerun_only_the_classification(engine, example_file, monkeypatch):
    spotted = engine.analyse(example_file("positive"), "htnet").prediction.phases
    monkeypatch.setattr(engine_module, "track_face", lambda *_: pytest.fail("tracked again"))
    monkeypatch.setattr(engine_module, "read_clip", lambda *_: pytest.fail("read again"))
    phases = engine.analyse(example_file("positive"), "htnet", onset=2, apex=9, offset=15).prediction.phases
    assert (phases.onset, phases.apex, phases.offset, phases.source) == (2, 9, 15, "given")
    again = engine.analyse(example_file("positive"), "htnet").prediction.phases
    assert (again.onset, again.apex, again.source) == (spotted.onset, spotted.apex, "spotted")
    with pytest.raises(Refusal, match="expected onset <= apex <= offset"):
        engine.analyse(example_file("positive"), "htnet", onset=9, apex=2)


def test_a_still_face_is_an_answer_and_no_face_is_refused(engine, example_file, faceless):
    assert engine.analyse(example_file("still"), "htnet").prediction.outcome == "no_motion"
    with pytest.raises(Refusal, match="no face was found"):
        engine.analyse(faceless, "htnet")


def test_each_face_of_a_clip_has_an_answer_and_can_be_chosen(engine, example, tmp_path):
    moving, still = example("positive").clip.frames[:45], example("still").clip.frames[:45]
    write_clip(tmp_path / "two.mp4", np.concatenate([still[:, :, 160:480], moving[:, :, 160:480]], 2), 30)
    answers = [engine.analyse(tmp_path / "two.mp4", "htnet-synthetic", face=face) for face in (1, 2)]
    assert [answer.prediction.face for answer in answers] == [1, 2]
    assert (answers[0].prediction.size_px or 0) < 0.6 < 1.2 < answers[1].prediction.size_px
    choice = analyse._which_face(answers[1].prediction)
    assert choice.visible and choice.value == 2 and [number for number, _ in choice.choices] == ["1", "2"]
    with pytest.raises(Refusal, match="2 faces"):
        engine.analyse(tmp_path / "two.mp4", "htnet-synthetic", face=3)


def test_comparing_reads_once_and_tracks_once_for_each_geometry(new_engine, tracked, clip, monkeypatch):
    reads = []
    read = engine_module.read_clip
    monkeypatch.setattr(engine_module, "read_clip", lambda *a, **k: reads.append(1) or read(*a, **k))
    answers = new_engine().compare(clip, [*registry.ARCHITECTURES, "no model"])
    geometries = {tuple(tiny_processor(key).face_geometry.items()) for key in registry.ARCHITECTURES}
    assert len(reads) == 1 and len(tracked) == len(geometries)
    assert isinstance(answers.pop("no model"), Refusal)
    assert {key: answer.architecture for key, answer in answers.items()} == {key: key for key in answers}
    assert all(isinstance(answer, Analysis) for answer in answers.values())


@pytest.mark.parametrize("same", [True, False])
def test_visitors_at_once_get_their_answers(new_engine, tracked, clip, tmp_path, same):
    """One clip is tracked once; of several clips as many at a time as the engine was told."""
    engine = new_engine(at_once=3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: engine.analyse(path, "htnet"), copies(clip, tmp_path, 8, same)))
    assert len(tracked) == (1 if same else 8)
    assert max(tracked) == (1 if same else 3)
    assert len({id(answer.track) for answer in answers}) == len(tracked)


def test_a_clip_that_failed_is_tried_again_and_holds_nobody_up(new_engine, tracked, clip, monkeypatch):
    engine = new_engine()
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "track_face", lambda *_: 1 / 0)
        with pytest.raises(Refusal, match="an unforeseen ZeroDivisionError"):
            engine.analyse(clip, "htnet")
    assert engine.analyse(clip, "htnet").prediction.outcome == "no_motion"


def test_clips_stay_within_their_bytes_and_the_oldest_go(new_engine, tracked, clip, tmp_path):
    paths = copies(clip, tmp_path, 4)
    engine = new_engine()
    engine.analyse(clip, "htnet")
    size = engine.clips.values()[0].size_bytes
    engine = new_engine(most_tracked_bytes=int(2.5 * size))
    tracked.clear()
    for path in (paths[0], paths[1], paths[0], paths[2], paths[0]):  # the third looks at 0: 1 goes
        engine.analyse(path, "htnet")
        assert len(engine.clips.values()) <= 2
    assert len(tracked) == 3
    engine.analyse(paths[1], "htnet")
    assert len(tracked) == 4
    small = new_engine(most_tracked_bytes=10)
    assert small.analyse(clip, "htnet").prediction.outcome == "no_motion"
    assert small.clips.values() == []


def test_a_clip_of_too_many_large_faces_is_refused(new_engine, tracked, clip, monkeypatch):
    monkeypatch.setattr(engine_module, "MOST_TRACKED_BYTES", 9 * 3 * 224**2)
    with pytest.raises(Refusal, match="224 x 224 pixels, of which the page holds 9; this clip has 10"):
        new_engine().analyse(clip, "htnet")
    assert not tracked


def test_of_large_frames_only_the_face_is_kept(new_engine, tracked, tmp_path, monkeypatch):
    path = tmp_path / "large.mp4"
    write_clip(path, np.zeros((10, 720, 1280, 3), np.uint8), 20)
    monkeypatch.setattr(engine_module, "MOST_DECODED_BYTES", 10 * 360 * 640 * 3)
    track, clips = engine_module.track_face, []
    monkeypatch.setattr(engine_module, "track_face", lambda clip, *_: clips.append(clip) or track(clip, *_))
    new_engine().analyse(path, "htnet")
    assert isinstance(clips[0], FaceClip) and len(clips[0]) == 10


def test_messages_show_no_path(engine, tmp_path):
    text = tmp_path / "some text.mp4"
    text.write_text("x")
    for path in (text, tmp_path, "/etc/passwd", None):
        with pytest.raises(Refusal) as caught:
            engine.analyse(path, "htnet")
        assert "/" not in str(caught.value).replace("mp4, mov", "")


def test_a_value_is_made_once_kept_by_use_and_made_again_after_an_error():
    memory, made, go_on = Memory(2), [], threading.Event()

    def make(key):
        go_on.wait(10)
        made.append(key)
        if key == "broken" and made.count(key) == 1:
            raise ValueError("broken")
        return key

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(memory.get, "a", lambda: make("a")) for _ in range(4)]
        go_on.set()
        assert [future.result() for future in asked] == ["a"] * 4 and made == ["a"]
    for key in ("b", "a", "c"):
        memory.get(key, lambda key=key: make(key))
    assert memory.values() == ["a", "c"] and made == ["a", "b", "c"]
    memory.trim(room=1)
    assert memory.values() == ["c"]
    with pytest.raises(ValueError, match="broken"):
        memory.get("broken", lambda: make("broken"))
    assert memory.get("broken", lambda: make("broken")) == "broken"


def test_as_many_networks_stay_in_memory_as_are_allowed(tiny_checkpoints, monkeypatch):
    monkeypatch.setattr(loading, "CHECKPOINTS", tiny_checkpoints)
    networks = Networks("cpu")
    first = networks.get("htnet")
    assert first.size_bytes > 4 * sum(each.numel() for each in first.pipeline.model.parameters())
    networks.held.bound, networks.held.size = 2, lambda network: 1
    assert networks.get("htnet-synthetic") is first and networks.get("mmnet") is not first
    assert networks.get("htnet") is first
    networks.get("hsta")
    assert [network.name for network in networks.held.values()] == ["htnet-synthetic", "hsta-synthetic"]


@pytest.mark.parametrize(
    "name", ["", "../htnet", "/etc/passwd", "a/b/c", "htnet-synthetic/..", "space", "a/b@", "a/b@../c"]
)
def test_a_name_is_never_a_path(name, monkeypatch):
    monkeypatch.setattr(loading, "snapshot", lambda *_, **__: pytest.fail("the Hub was asked"))
    with pytest.raises(ValueError, match="there is no model"):
        Networks("cpu").get(name)


def test_a_folder_that_looks_like_a_repository_is_not_loaded(tiny_checkpoints, tmp_path, monkeypatch):
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "tiny").symlink_to(tiny_checkpoints / "htnet-synthetic")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks_module.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="loads no models from the Hub"):
        Networks("cpu").get("me/tiny")


def test_a_full_disk_takes_no_more_networks(monkeypatch):
    monkeypatch.setattr(networks_module, "LEAST_FREE_BYTES", 10**18)
    with pytest.raises(ValueError, match="no room for another model"):
        Networks("cpu").get("me/tiny")


def test_devices_that_are_not_there_are_refused():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for device in ("tpu", "mps"):
        with pytest.raises(ValueError, match=f"has no device '{device}'. Choose one of auto, cpu, cuda, mps"):
            choose_device(device)


def test_zero_gpu_is_asked_where_it_is(monkeypatch, tiny_checkpoints, tracked, clip):
    """A stand-in for the package `spaces`: arguments and value go through a pickle, as they do there."""
    spaces = ModuleType("spaces")
    asked = []

    def gpu(function):
        def call(*args):
            asked.append(args[0])
            return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(args)))))

        return call

    spaces.GPU = gpu
    monkeypatch.setattr(loading, "CHECKPOINTS", tiny_checkpoints)
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    assert on_gpu(len) is len  # not on such a Space
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    assert choose_device("auto").type == "cuda"
    engine = Engine("cpu")
    engine.warm_up(clip)
    held = {network.architecture for network in engine.networks.held.values()}
    assert not asked and held == set(registry.ARCHITECTURES)
    assert engine.analyse(clip, "htnet").prediction.outcome == "no_motion"
    assert asked == ["htnet"]
