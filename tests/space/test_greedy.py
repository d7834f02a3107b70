"""The page beside a visitor who uploads, breaks off and names checkpoints all the time."""

import json
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from huggingface_hub import HfApi, constants

from benchmarks import load
from mer_hf.registry import ARCHITECTURES
from tests.hub.hub_server import serve
from tests.models.tiny import TINY, tiny_processor
from tests.space.greedy import ask, greedy, multipart, post
from tests.space.test_files import parts, wait_until

MOST_ADDED_MB = 200
"""Memory that checkpoints which visitors name may take, above that of the page after its first answer."""


def test_answers_are_right_beside_a_greedy_visitor(engine, url, example_file):
    paths = {kind: example_file(kind) for kind in ("positive", "still")}
    model = "htnet-synthetic"
    expected = {kind: engine.analyse(path, model).prediction.to_dict() for kind, path in paths.items()}
    with greedy(url, b"no clip", ["me/none", "../x"]) as counts:
        outcomes = load.ask_all(url.rstrip("/"), 2, 2, paths, expected, model)
    assert [outcome.kind for outcome in outcomes] == ["right"] * 4, outcomes
    assert min(counts.values()) > 0
    assert wait_until(lambda: not parts())  # whole uploads go by their age


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub on loopback, for a page's process, with checkpoints that are good, large or mismatched."""
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch, serve(folder / "store") as url:
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        api = HfApi(endpoint=url, token="x")
        for name, checkpoint in checkpoints(folder).items():
            api.create_repo(f"me/{name}")
            api.upload_folder(repo_id=f"me/{name}", folder_path=checkpoint)
        settings = {"ENDPOINT": url, "HOME": folder / "home", "HUB_DISABLE_XET": 1, "HUB_OFFLINE": 0}
        for name, value in settings.items():
            patch.setenv(f"HF_{name}", str(value))
        yield [f"me/{path.name}" for path in sorted((folder / "made").iterdir())] + ["me/none", "../x"]


def checkpoints(folder: Path) -> dict[str, Path]:
    """Make checkpoints that take memory, or would if they were believed."""
    made = {}

    def make(name, hidden_size=32, dtype=torch.float32, config=None, processor=None):
        made[name] = folder / "made" / name
        htnet = ARCHITECTURES["htnet"]
        settings = htnet.config_class(**TINY["htnet"].config | {"hidden_size": hidden_size})
        htnet.classifier_class(settings).to(dtype).save_pretrained(made[name])
        tiny_processor("htnet").save_pretrained(made[name])
        for file, changes in (("config.json", config), ("preprocessor_config.json", processor)):
            settings = json.loads((made[name] / file).read_text())
            (made[name] / file).write_text(json.dumps(settings | (changes or {})))

    make("good")
    for at in range(4):
        make(f"large-{at}", hidden_size=128)  # 35 MB
        make(f"half-{at}", hidden_size=128, dtype=torch.bfloat16)
    make("heavy", hidden_size=192)  # 79 MB
    make("heavy-half", hidden_size=192, dtype=torch.bfloat16)  # 39 MB, which become 79
    make("mismatched", config={"hidden_size": 4096})
    make("deep", config={"mlp_ratio": 4096})
    make("geometry", processor={"face_geometry": {"size": 4096}})
    return made


@contextmanager
def measured(process):
    """Yield a list that holds the peak of the memory within the block, in MB."""
    peak = []
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak begins anew
    yield peak
    peak.append(load.peak_mb(process))


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from /proc"
)
def test_memory_stays_within_its_bound_whatever_is_named(hub, example_file, tmp_path):
    with load.served(tmp_path) as (process, url):
        (path,) = json.loads(
            post(f"{url}/gradio_api/upload", *multipart(example_file("positive").read_bytes()))
        )
        assert "outcome" in ask(url, path, "htnet-synthetic")
        with measured(process) as idle:
            time.sleep(1)
        with measured(process) as named:
            answers = {name: ask(url, path, name) for name in [*hub, *hub[::-1]]}
    assert named[0] - idle[0] < MOST_ADDED_MB, (idle, named)
    answered = {name for name, answer in answers.items() if '"outcome"' in answer}
    assert answered == {name for name in hub if name.startswith(("me/good", "me/large", "me/half"))}, answers


@pytest.mark.slow
def test_32_visitors_have_their_answers_beside_a_greedy_one(hub, example_file):
    clip = example_file("still").read_bytes()
    result = load.run(beside=partial(greedy, clip=clip, models=hub))
    left = result["files_after_their_age"], result["files_after_exit"]
    assert (result["right"], *left) == (32 * 8, 0, 0), json.dumps(result)
    assert result["peak_rss_mb"] < load.MOST_MB
