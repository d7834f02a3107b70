from mer_hf.training.run_folder import RunFolder

LINES = [
    '{"step": 2, "loss": 1.0}', '{"step": 4, "loss": 0.5}', '{"step": 6, "loss": 0.4}',
    '{"step": 4, "validation": {"uf1": 0.7}}',
]  # fmt: skip


def test_the_log_is_rewound_to_a_step(tiny, tmp_path):
    folder = RunFolder(tiny())
    (tmp_path / "run").mkdir()
    log = tmp_path / "run" / "metrics.jsonl"
    folder.rewind_log(4)
    assert not log.exists()
    # Cut in the middle of a number, and where the end looks like the end of a record.
    for cut in ('{"step": 8, "lo', '{"step": 8, "validation": {"uf1": 0.7}'):
        log.write_text("\n".join([*LINES, cut]))
        folder.rewind_log(4)
        assert log.read_text() == "".join(line + "\n" for line in LINES[:2])


def test_the_latest_state_is_the_one_that_is_complete(tiny, tmp_path):
    folder = RunFolder(tiny())
    assert folder.latest() is None
    for name in ("step-00000009", "step-00000010", ".step-00000011"):
        (tmp_path / "run" / "checkpoints" / name).mkdir(parents=True)
    assert folder.step_of(folder.latest()) == 10
    folder.unfinished(12).mkdir()
    folder.complete(12)
    assert [path.name for path in folder.states.iterdir()] == ["step-00000012"]
