"""`mer-hf watch`: a file in real time, a stream of the network, and sources that are none."""

import contextlib
import functools
import io
import json
import signal
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import av
import pytest

from mer_hf.cli import main
from mer_hf.inference.live import Background
from mer_hf.interchange.formats import read_coding
from mer_hf.video import sources
from mer_hf.video.clip import read_clip


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def http(tmp_path):
    """A folder, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def lines_of(capfd) -> tuple[list[dict], dict]:
    *told, counts = map(json.loads, capfd.readouterr().out.splitlines())
    return told, counts


def test_a_file_is_watched_in_real_time_and_kept_where_asked(example_file, tmp_path, capfd):
    video, eaf, record = example_file("positive"), tmp_path / "a.eaf", tmp_path / "a.mp4"
    begun_s = time.monotonic()
    assert main(["watch", str(video), "--json", "--eaf", str(eaf), "--record", str(record)]) == 0
    assert time.monotonic() - begun_s > 1.9
    (one,), counts = lines_of(capfd)
    assert (one["outcome"], one["label"]) == ("micro_expression", "positive")
    assert one["told_s"] - one["offset_s"] < 1.5
    assert counts["frames"] == 60 and counts["expressions"] == 1 and not counts["note"]
    (event,) = read_coding(eaf).events
    assert event.label == "positive" and abs(event.apex_s - one["apex_s"]) < 0.01
    kept = read_clip(record)
    assert len(kept) == 60 and abs(kept.timestamps_s[-1] - 59 / 30) < 0.1


def test_nothing_is_kept_that_was_not_asked_for(example_file, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["watch", str(example_file("still")), "--duration", "1"]) == 0
    assert "0 expressions" in capfd.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_a_stream_over_http_is_watched(example_file, http, capfd, suffix):
    folder, address = http
    path, options = str(folder / f"a.{suffix}"), {"movflags": "+faststart"}  # this server cannot go back
    with av.open(str(example_file("surprise"))) as video, av.open(path, "w", options=options) as copy:
        stream = copy.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    assert main(["watch", f"{address}/a.{suffix}?token=secret", "--json"]) == 0
    (one,), counts = lines_of(capfd)
    assert one["label"] == "surprise" and counts["frames"] == 60


def test_ctrl_c_ends_with_whole_files(example_file, tmp_path, monkeypatch, capfd):
    def interrupted(source):
        for image, time_s in frames(source):
            if time_s > 1.0:
                raise KeyboardInterrupt
            yield image, time_s

    frames = sources.open_live
    monkeypatch.setattr(sources, "open_live", interrupted)
    files = {"record": tmp_path / "a.mp4", "coding": tmp_path / "a.json"}
    flags = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    assert main(["watch", str(example_file("still")), *flags]) == 0
    assert "0 expressions" in capfd.readouterr().out
    assert len(read_clip(files["record"])) in (30, 31) and read_coding(files["coding"]).events == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.mp4"]


def test_whoever_presses_ctrl_c_twice_loses_nothing(example_file, tmp_path):
    record, coding = tmp_path / "a.mp4", tmp_path / "a.json"
    command = [sys.executable, "-m", "mer_hf", "watch", str(example_file("still")), "--json"]
    command += ["--record", str(record), "--coding", str(coding)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
        while not list(tmp_path.glob(".mer-hf-*/a.mp4")):
            time.sleep(0.05)
            assert watching.poll() is None
        time.sleep(0.2)
        watching.send_signal(signal.SIGTERM)
        for _ in range(3):
            time.sleep(0.01)
            watching.send_signal(signal.SIGINT)
        counts = json.loads(watching.stdout.read().splitlines()[-1])
    assert watching.returncode == 0 and 0 < counts["frames"] <= 60
    assert len(read_clip(record)) and read_coding(coding).events == ()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing.mp4", "no such file"),
        ("{folder}", "is a folder. Give a video"),
        ("97", "camera 97 could not be opened"),
        ("ftp://127.0.0.1/a.mp4", "only http, https, rtsp, rtsps are opened"),
        ("file:///etc/passwd", "only http"),
        ("http://me:secret@127.0.0.1:1/a.mp4", "http://127.0.0.1:1/a.mp4: no video stream"),
        ("rtsp://me:secret@127.0.0.1:1/a", "rtsp://127.0.0.1:1/a: no video stream"),
        ("{address}/page.html", "page.html: no video stream"),
        ("{address}/list.m3u8", "list.m3u8: no video stream"),
        ("{address}/none.mp4", "none.mp4: no video stream"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(http, capfd, source, words):
    folder, address = http
    (folder / "page.html").write_text("<html>no video</html>" * 100)
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n")
    assert main(["watch", source.format(address=address, folder=folder)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err and "secret" not in err


def test_times_in_the_wrong_order_neither_stretch_a_stream_nor_lose_a_frame():
    """FFmpeg gives the frames of H.264 with B-frames such times over rtsp."""
    mixed = [4 * group + place for group in range(8) for place in (2, 1, 3, 0)]
    frames = [(None, float("nan")), *((None, number / 30) for number in mixed)]
    times_s = [time_s for _, time_s in sources._paced(iter(frames))]
    assert len(times_s) == 33 and all(one < other for one, other in pairwise(times_s))
    assert times_s[-1] == pytest.approx(32 / 30, abs=0.15)


def test_the_changing_line_is_gone_before_an_error(example_file, monkeypatch, capfd):
    class Terminal(io.StringIO):
        isatty = lambda self: True  # noqa: E731

    screen = Terminal()
    monkeypatch.setattr("mer_hf.cli.watch.visible_stderr", lambda: contextlib.nullcontext(screen))

    def fail(self):
        if screen.getvalue():
            raise ValueError("the disk is full")
        return []

    monkeypatch.setattr(Background, "news", fail)
    monkeypatch.setattr("mer_hf.cli.watch._Screen.show", lambda self, updates: self.terminal.write("0:00.50"))
    assert main(["watch", str(example_file("still"))]) == 2
    lines = capfd.readouterr().err.splitlines()  # MediaPipe's threads may end with words of their own
    assert [line for line in lines if not line.startswith("W0000")] == ["mer-hf: error: the disk is full"]
    assert screen.getvalue().endswith("0:00.50\r\x1b[K")
