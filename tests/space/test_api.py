"""The page's endpoints, asked as a program would."""

from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from mer_hf.interchange.formats import SUFFIXES, read_coding


@pytest.fixture(scope="module")
def client(url):
    return Client(url, verbose=False)


@pytest.fixture(scope="module")
def clip(example_file):
    return handle_file(example_file("positive"))


def test_nothing_else_is_an_endpoint(client):
    named = client.view_api(return_format="dict")
    expected = ("analyse", "classify", "compare", "export", "export_coding", "spot_long")
    assert set(named["named_endpoints"]) == {f"/{name}" for name in expected}
    assert not named["unnamed_endpoints"]
    parameters = [
        parameter["parameter_name"] for parameter in named["named_endpoints"]["/classify"]["parameters"]
    ]
    assert parameters == ["clip", "model", "onset", "apex", "offset"]


def test_a_clip_is_analysed_and_classified_again_with_other_phases(client, clip):
    found = client.predict(clip, "htnet-synthetic", api_name="/analyse")
    assert found["outcome"] == "micro_expression" and sum(found["scores"].values()) == pytest.approx(1.0)
    assert found["fps"] == pytest.approx(30) and len(found["clip_sha256"]) == 64
    again = client.predict(clip, "htnet-synthetic", 10, 15, 20, api_name="/classify")
    assert [again["phases"][name] for name in ("onset", "apex", "offset")] == [10, 15, 20]
    assert again["phases"]["source"] == "given" and again["clip_sha256"] == found["clip_sha256"]


def test_networks_are_compared(client, clip):
    found = client.predict(clip, api_name="/compare")
    assert set(found["answers"]) == {f"{key}-synthetic" for key in ("htnet", "mmnet", "hsta", "facesleuth")}
    assert found["answers"]["mmnet-synthetic"]["says"] == "other motion"
    assert found["agreement"]["answers"] == 4


def test_files_are_exported(client, clip):
    files = client.predict(clip, "htnet-synthetic", api_name="/export")
    names = [Path(path).name for path in files]
    assert names == ["positive.json", "positive.csv", "positive-replay.mp4", "positive.html"]
    assert all(Path(path).stat().st_size > 100 for path in files)


@pytest.mark.parametrize("name", ["coding", "eaf", "boris", "facs"])
def test_a_coding_is_exported(client, clip, name):
    path = Path(client.predict(clip, "htnet-synthetic", name, api_name="/export_coding"))
    assert path.name == f"positive{SUFFIXES[name]}"
    (event,) = read_coding(path).events
    assert event.kind == "micro_expression" and 0 < event.onset_s < event.offset_s < 2


def test_the_action_units_of_each_frame_are_exported(client, clip):
    path = Path(client.predict(clip, "htnet-synthetic", "openface", api_name="/export_coding"))
    lines = path.read_text().splitlines()
    assert path.name == "positive-openface.csv" and len(lines) == 61 and "AU12_r" in lines[0]


def test_a_long_video_is_searched(client, clip):
    found = client.predict(clip, "htnet-synthetic", api_name="/spot_long")
    assert len(found["intervals"]) == 1 and found["duration_s"] == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("name", "model"),
    [("no face", "htnet-synthetic"), ("not a video", "htnet-synthetic"), (None, "/etc"), (None, "../x")],
)
def test_what_has_no_answer_raises_the_reason(client, clip, bad_clips, name, model):
    given = handle_file(bad_clips[name][0]) if name else clip
    with pytest.raises(AppError) as caught:
        client.predict(given, model, api_name="/analyse")
    assert "Traceback" not in str(caught.value) and "tmp" not in str(caught.value)


@pytest.mark.parametrize(
    ("clip_is_path", "frames", "reason"),
    [
        (True, (10, 15, 20), "Give a clip as an uploaded file"),
        (False, (10, 15, "end"), "the frames as whole numbers"),
        (False, (10, 15, None), "onset, apex and offset must be frames from 0"),
    ],
)
def test_inputs_of_another_kind_raise_the_reason(client, clip, clip_is_path, frames, reason):
    given = "/etc/hostname" if clip_is_path else clip
    with pytest.raises(AppError, match=reason):
        client.predict(given, "htnet-synthetic", *frames, api_name="/classify")


def test_phases_out_of_order_raise_the_reason(client, clip):
    with pytest.raises(AppError, match="onset <= apex <= offset"):
        client.predict(clip, "htnet-synthetic", 20, 15, 10, api_name="/classify")
