"""Search of a folder of long videos: a row per event, resumed, with exports and a report of moments."""

import csv
import json
import re
from urllib.parse import unquote

import numpy as np
import pytest

from mer_hf import cli
from mer_hf.inference import bulk, bulk_spot
from mer_hf.inference.bulk_spot import SpotRun
from mer_hf.inference.long_video import Gap, Interval, LongVideo
from mer_hf.interchange.formats import read_coding
from mer_hf.video.clip import write_clip
from tests.space.browser import find_chromium, opened

UNITS = {"AU12": (0.9, 0.6)}
ONE = Interval(1.0, 1.2, 1.4, 2.0, 0.4, "micro_expression", "positive", {"positive": 0.8}, 0.7, UNITS)
TWO = Interval(2.0, 2.4, 3.0, 2.0, 1.0, "other_motion", None, {"positive": 0.5}, 0.1, {}, 2)
GAPS = (Gap(4.0, 5.0, "lost", 2),)
FOUND = {
    "a b.mp4": LongVideo(9.0, (ONE, TWO), GAPS, (), np.zeros(1), np.zeros(1), ("why.",)),
    "d.mp4": LongVideo(60.0, (), (), (), np.zeros(1), np.zeros(1)),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "videos"
    (root / "c").mkdir(parents=True)
    for name in FOUND:
        write_clip(root / name, np.zeros((2, 32, 32, 3), np.uint8), 30)
    (root / "c" / "x.mp4").write_text("no video")
    return root


@pytest.fixture
def searched(monkeypatch):
    """Searches without a network; returns what was searched and how."""
    calls = []

    def spot_long(path, pipeline, *windows, progress=None, **options):
        calls.append((path.name, options))
        if path.name not in FOUND:
            raise ValueError(f"{path}: not a video")
        if progress:
            progress(3.0, 9.0)
        return FOUND[path.name]

    monkeypatch.setattr(bulk_spot, "spot_long", spot_long)
    return calls


def spot(folder, checkpoint, *flags) -> list[str]:
    out = folder.parent / "events.csv"
    return ["spot", str(folder), "--out", str(out), "--model", str(checkpoint), *map(str, flags)]


def test_a_row_for_each_event_of_each_video(folder, checkpoint, searched, capfd):
    coded = folder.parent / "coded"
    flags = ("--faces", "all", "--export-dir", coded, "--export", "boris")
    assert cli.main(spot(folder, checkpoint, *flags)) == 0
    output, errors = capfd.readouterr()
    assert output.startswith("3 clips, 1 failed, ") and "micro_expression 1, other_motion 1" in output
    assert "searching" in errors and "this video" in errors
    with open(folder.parent / "events.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = ("path", "status", "person", "label", "onset_s", "AU12", "score_positive", "video_s")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("a b.mp4", "ok", "1", "positive", "1.0", "0.9", "0.8", "9.0"),
        ("a b.mp4", "ok", "2", "", "2.0", "", "0.5", "9.0"),
        ("c/x.mp4", "failed", "", "", "", "", "", ""),
        ("d.mp4", "empty", "", "", "", "", "", "60.0"),
    ]
    assert rows[0]["warnings"] == "why." and rows[2]["reason"] == "not a video"
    assert {options["face"] for _, options in searched} == {"all"}
    first, second = read_coding(coded / "a b.mp4.boris").events
    assert (first.label, first.person, second.person) == ("positive", 1, 2)


def test_a_search_is_resumed_with_the_video_that_it_stopped_at(folder, checkpoint, searched, monkeypatch):
    class Stopped(BaseException):
        pass

    def stop(*_):
        raise Stopped

    run = SpotRun(folder, folder.parent / "events.csv", str(checkpoint), {"face": None})
    run.progress = stop
    with pytest.raises(Stopped):
        run.work()
    assert [name for name, _ in searched] == ["a b.mp4"]
    monkeypatch.setattr(bulk, "run_alone", lambda function, path, part: function(path, part))
    run.progress = None
    assert run.work()["clips"] == 3
    assert [name for name, _ in searched] == ["a b.mp4", "a b.mp4", "x.mp4", "d.mp4"]
    with pytest.raises(ValueError, match="face changed from None to 2"):
        (folder.parent / "events.csv").rename(folder.parent / "old.csv")
        again = SpotRun(folder, folder.parent / "events.csv", str(checkpoint), {"face": None})
        again.progress = stop
        with pytest.raises(Stopped):
            again.work()
        SpotRun(folder, folder.parent / "events.csv", str(checkpoint), {"face": 2}).work()


def test_a_report_refers_to_the_videos_and_to_each_moment(folder, checkpoint, searched):
    report = folder.parent / "found.html"
    assert cli.main(spot(folder, checkpoint, "--report", report)) == 0
    page = report.read_text()
    addresses = set(re.findall(r'(?:src|data-video)="([^"]+)"', page))
    assert addresses == {"videos/a%20b.mp4", "videos/c/x.mp4", "videos/d.mp4"}
    assert all((folder.parent / unquote(each)).is_file() for each in addresses)
    assert page.count('data-at="0.00"') == 2 and page.count('href="videos/a%20b.mp4#t=1.00"') == 2
    assert "not a video" in page and "person 2" in page and page.count("No expression was found.") == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--plot", "a.png"], "--plot is for one clip"),
        (["--eaf", "a.eaf"], "--eaf is for one clip"),
        (["--report", "a.txt"], "must end in .html"),
        (["--export", "eaf"], "--export needs --export-dir"),
    ],
)
def test_what_cannot_be_started_is_refused(folder, checkpoint, capfd, flags, words):
    assert cli.main(spot(folder, checkpoint, *flags)) == 2
    assert words in capfd.readouterr().err
    assert not (folder.parent / "events.csv").exists()


def test_a_folder_needs_a_table(folder, checkpoint, capfd):
    assert cli.main(["spot", str(folder), "--model", str(checkpoint)]) == 2
    assert "Add --out events.parquet" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the report was not opened in a browser")
def test_a_moment_opens_in_the_video(folder, checkpoint, searched, tmp_path):
    """The page is opened from the disk, as a user does."""
    assert cli.main(spot(folder, checkpoint, "--report", tmp_path / "found.html")) == 0
    write_clip(folder / "a b.mp4", np.zeros((90, 64, 64, 3), np.uint8), 30)
    write_clip(folder / "d.mp4", np.zeros((9, 64, 64, 3), np.uint8), 30)
    with opened((tmp_path / "found.html").as_uri(), find_chromium()) as page:
        page.evaluate("document.querySelector('video').src = 'videos/d.mp4'")
        page.evaluate("document.querySelector('h1').textContent = 'd.mp4'")
        page.locator("details summary").click()
        page.locator("details a").click()
        page.wait_for_function("document.querySelector('video').currentTime >= 0.99")
        assert page.locator("h1").inner_text() == "a b.mp4"
        page.locator(".bar a").first.click()
        page.wait_for_function("document.querySelector('video').currentTime < 0.9")


def test_one_video_gets_a_report_as_well(folder, checkpoint, searched, monkeypatch, capfd):
    monkeypatch.setattr("mer_hf.inference.long_video.spot_long", bulk_spot.spot_long)
    video = folder / "a b.mp4"
    flags = ["--model", str(checkpoint), "--report", str(folder / "found.html"), "--json"]
    assert cli.main(["spot", str(video), *flags]) == 0
    assert json.loads(capfd.readouterr().out)["duration_s"] == 9.0
    page = (folder / "found.html").read_text()
    assert 'src="a%20b.mp4"' in page and "<title>Expressions in a b.mp4</title>" in page
