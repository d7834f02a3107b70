import json

from benchmarks import speed_page

KEPT = {
    "date": "2026-01-02T00",
    "commit": "0123456789ab",
    "machine": {"cpu": "a CPU", "cores": 2, "torch": "2"},
}
WORDS = {"model": "htnet", "long_s": 600, "threads": 2, "clip": "a.mp4", "frames": 9}
WORDS |= {f"bfloat16_{name}_gflop_per_s": 1.5 for name in ("matrix_product", "convolution")}


def test_the_page_is_that_of_the_newest_results():
    assert speed_page.PAGE.read_text() == speed_page.page()


def test_every_result_becomes_a_table_and_a_missing_one_none(tmp_path):
    without = speed_page.page(tmp_path)
    for name, tables in speed_page.TABLES.items():
        row = {f"{name}_row_{end}": 0.25 for columns in tables.values() for end in columns}
        (tmp_path / f"x-{name}.json").write_text(json.dumps(KEPT | {"result": WORDS | row}))
    text = speed_page.page(tmp_path)
    for name in speed_page.TABLES:
        assert f"| {name.replace('_', ' ')} row | 0.25 |" in text, name
    assert text.count("Measured on 2026-01-02 at commit `0123456789`: a CPU, 2 cores") == 7
    assert " row " not in without and "{" not in text + without


def test_the_longest_end_names_the_column_and_an_empty_column_is_left_out():
    columns = {"s": "seconds", "step_s": "step", "failed": "failed", "batch": "batch"}
    result = {"a_b_step_s": 1234.5, "a_b_batch": 32, "c_s": 0.01234, "model": "d"}
    rows = speed_page.table(result, columns).splitlines()
    assert rows == ["|  | seconds | step | batch |", "| --- | --- | --- | --- |",
                    "| a b |  | 1,234 | 32 |", "| c | 0.0123 |  |  |"]  # fmt: skip
