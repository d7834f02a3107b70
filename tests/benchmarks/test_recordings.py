"""The published numbers are those of a kept result, in the file and in the documentation."""

import json

from benchmarks.recordings import DOCS, FOLDER, summary
from mer_hf.evaluation.recording_scores import PUBLISHED, published_tables


def test_published_numbers_are_those_of_a_kept_result():
    published = json.loads(PUBLISHED.read_text())
    kept = (FOLDER / "results").glob(f"*-{published['commit'][:10]}*-recordings.json")
    assert published in [summary(json.loads(path.read_text())) for path in kept]
    for path, short in DOCS.items():
        assert published_tables(short=short) in path.read_text()


def test_what_was_not_measured_is_left_out(tmp_path):
    published = json.loads(PUBLISHED.read_text())
    published.pop("ordinary")
    (tmp_path / "part.json").write_text(json.dumps(published))
    text = published_tables(tmp_path / "part.json")
    assert "CASME II" in text and "Ordinary" not in text and published_tables(tmp_path / "none.json") == ""
