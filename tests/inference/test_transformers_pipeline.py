"""The bundled networks in transformers' own pipelines give the answers of this package's."""

import http.server
import threading
from functools import partial

import numpy as np
import pytest
from transformers import pipeline
from transformers.utils import logging

from mer_hf import MicroExpressionPipeline, bundled
from mer_hf.loading import bundled_names
from mer_hf.registry import ARCHITECTURES
from mer_hf.video.clip import fetch_clip, read_clip
from mer_hf.video.container import ClipError


@pytest.fixture
def said(monkeypatch):
    """Everything that transformers says, as lines."""
    lines = []
    logger = logging.get_logger("transformers")
    monkeypatch.setattr(logger, "handle", lambda record: lines.append(record.getMessage()))
    monkeypatch.setattr("warnings.showwarning", lambda message, *_: lines.append(str(message)))
    return lines


@pytest.mark.parametrize("name", bundled_names())
def test_both_pipelines_answer_as_this_package_does(name, example_file, said, capsys):
    file, own = str(example_file("positive")), MicroExpressionPipeline.from_pretrained(name)
    expected, alone = own(file).to_dict(), own(file, average=False)

    stock = pipeline("video-classification", model=str(bundled(name)))
    scores = {row["label"]: row["score"] for row in stock(file)}
    assert max(scores, key=scores.get) == expected["label"] == "positive"
    calibrated = own.calibration.probabilities(np.log([scores[label] for label in alone.scores]))
    np.testing.assert_allclose(calibrated, list(alone.scores.values()), atol=1e-4)

    (whole,) = pipeline("micro-expression-recognition", model=str(bundled(name)))([file])
    for part in ("outcome", "label", "phases", "action_units", "warnings"):
        assert whole[part] == expected[part]
    assert not said and "code" not in capsys.readouterr().out


def test_a_clip_without_an_expression_gives_a_warning(example, monkeypatch):
    lines = []
    monkeypatch.setattr("mer_hf.inference.pipeline.logger.warning", lines.append)
    processor = ARCHITECTURES["mmnet"].video_processor_class.from_pretrained(bundled("mmnet-synthetic"))
    inputs = processor(example("still").clip.frames, fps=30, return_tensors="pt")
    assert inputs["pixel_values"].shape[0] == 1
    assert lines == ["no motion stands out: the class says nothing."]


def test_several_videos_make_a_batch(example):
    frames = example("positive").clip.frames[15:40]
    processor = ARCHITECTURES["mmnet"].video_processor_class.from_pretrained(bundled("mmnet-synthetic"))
    both = processor([frames, frames[:, ::-1, ::-1][:, ::-1, ::-1]], onset=7, apex=13, offset=18, fps=30)
    assert both["pixel_values"].shape[0] == 2
    np.testing.assert_array_equal(*both["pixel_values"])


def test_the_whole_pipeline_refuses_unknown_arguments():
    with pytest.raises(TypeError, match="unknown argument top_k"):
        pipeline("micro-expression-recognition", model=str(bundled("mmnet-synthetic")), top_k=2)


def test_a_clip_is_fetched_from_the_web(example_file):
    file = example_file("positive")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=file.parent)
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        np.testing.assert_array_equal(fetch_clip(f"{address}/{file.name}").frames, read_clip(file).frames)
        with pytest.raises(ClipError, match=r"nothing\.mp4 could not be fetched: .*404"):
            fetch_clip(f"{address}/nothing.mp4")
        with pytest.raises(ClipError, match="over 0 MB"):
            fetch_clip(f"{address}/{file.name}", max_bytes=1000)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(ClipError, match="could not be fetched"):
        fetch_clip(f"{address}/{file.name}")
