"""What of the cache is taken for a checkpoint where the Hub is not asked."""

import json

import pytest
from huggingface_hub import constants

from mer_hf.loading import snapshot

COMMIT = "0123456789" * 4


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A commit's place in the cache, offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "models--me--net"
    folder = place / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_settings_without_weights_are_no_checkpoint(folder, revision):
    with pytest.raises(ValueError, match=r"me/net.* is not \(or not wholly\) in the cache"):
        snapshot("me/net", revision)
    (folder / "model.safetensors").write_bytes(b"x")
    assert snapshot("me/net", revision) == folder


def test_a_shard_that_is_missing_is_noticed(folder):
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("ab", shards, strict=True))})
    )
    (folder / shards[0]).write_bytes(b"x")
    with pytest.raises(ValueError, match="not wholly"):
        snapshot("me/net")
    (folder / shards[1]).write_bytes(b"x")
    assert snapshot("me/net") == folder


def test_weights_without_settings_are_no_checkpoint(folder):
    (folder / "config.json").unlink()
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="not wholly"):
        snapshot("me/net")
