import json

import pytest

from mer_hf.training.config import TrainingConfig, TrainingError, parse_args


def test_a_flag_sets_its_field_and_the_rest_keep_their_defaults():
    config = parse_args(["--output-dir", "run", "--num-samples", "64", "--lr", "0.01", "--fresh-samples"])
    assert config == TrainingConfig(output_dir="run", num_samples=64, lr=0.01, fresh_samples=True)


def test_pairs_are_json_and_bare_words_are_strings():
    flags = [
        "--config",
        "depths=[1, 2]",
        "mlp_ratio=2",
        "--processor",
        "flow_method=dis",
        "--config",
        "hidden_act=gelu",
    ]
    config = parse_args(["--output-dir", "run", *flags])
    assert config.config == {"depths": [1, 2], "mlp_ratio": 2, "hidden_act": "gelu"}
    assert config.processor == {"flow_method": "dis"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--output-dir is missing"),
        (["--output-dir", "run", "--learning-rate", "1"], "unrecognized arguments: --learning-rate"),
        (["--output-dir", "run", "--epoch", "1"], "unrecognized arguments: --epoch"),  # no abbreviations
        (["--output-dir", "run", "--epochs", "two"], "--epochs: invalid int value: 'two'"),
        (["--output-dir", "run", "--schedule", "linear"], "--schedule: invalid choice: 'linear'"),
        (["--output-dir", "run", "--config", "depths"], "expected field=value, got 'depths'"),
        (
            ["--output-dir", "run", "--batch-size", "0"],
            "--batch-size must be at least 1 and at most 1000000000, got 0",
        ),
        (
            ["--output-dir", "run", "--max-steps", "0"],
            "--max-steps must be at least 1 and at most 1000000000, got 0",
        ),
        (["--output-dir", "run", "--lr", "nan"], "--lr must be at most 1000000000 and above 0, got nan"),
        (["--output-dir", "run", "--weight-decay", "nan"], "--weight-decay must be at least 0 and"),
        (["--output-dir", "run", "--lr", "inf"], "--lr must be at most 1000000000 and above 0, got inf"),
        (
            ["--output-dir", "run", "--tracked-share", "1.5"],
            "--tracked-share must be at least 0 and at most 1, got 1.5",
        ),
        (["--output-dir", "run", "--ema-decay", "1"], "--ema-decay must be at least 0 and below 1, got 1.0"),
        (["--output-dir", "run", "--seed", str(2**31)], "--seed must be at least 0 and at most 2147483647"),
    ],
)
def test_a_mistake_is_told_in_one_line(flags, message):
    with pytest.raises(TrainingError) as caught:
        parse_args(flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_launchers_precision_is_used_where_no_flag_says_another(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert parse_args(["--output-dir", "run"]).mixed_precision == "bf16"
    assert parse_args(["--output-dir", "run", "--mixed-precision", "no"]).mixed_precision == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(TrainingError, match=r"unknown --mixed-precision fp8\. Choose from no, bf16, fp16"):
        parse_args(["--output-dir", "run"])


def started(tmp_path, **changes):
    """A folder with the record of a run."""
    config = TrainingConfig(output_dir=str(tmp_path), **{"seed": 3, "lr": 0.01, **changes})
    (tmp_path / "train_config.json").write_text(json.dumps({**config.stored(), "num_processes": 1}))
    return config


def test_resume_takes_the_runs_own_flags(tmp_path):
    before = started(tmp_path, config={"hidden_size": 12})
    config = parse_args(["--output-dir", str(tmp_path), "--resume"])
    assert config.stored() == before.stored() and config.resume


def test_resume_accepts_what_leaves_the_weights_as_they_are(tmp_path):
    started(tmp_path)
    config = parse_args(["--output-dir", str(tmp_path), "--resume", "--save-steps", "7", "--lr", "0.01"])
    assert config.save_steps == 7 and config.seed == 3


def test_resume_refuses_what_would_change_the_weights(tmp_path):
    started(tmp_path)
    with pytest.raises(TrainingError, match=r"--lr 0.02 differs from the run in .* which has 0.01"):
        parse_args(["--output-dir", str(tmp_path), "--resume", "--lr", "0.02"])


def test_resume_without_a_run_needs_the_flags_of_one(tmp_path):
    with pytest.raises(TrainingError, match="does not hold a run to resume"):
        parse_args(["--output-dir", str(tmp_path), "--resume"])
    assert parse_args(["--output-dir", str(tmp_path), "--resume", "--seed", "1"]).seed == 1


def test_resume_refuses_a_record_that_is_damaged(tmp_path):
    for text in ("{", "[]"):
        (tmp_path / "train_config.json").write_text(text)
        with pytest.raises(TrainingError, match="cannot resume"):
            parse_args(["--output-dir", str(tmp_path), "--resume"])


def test_the_record_names_no_place_on_this_machine(tmp_path):
    config = TrainingConfig(output_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert str(tmp_path) not in json.dumps(config.stored())


def test_help_shows_every_flag_in_its_group_with_its_default(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_args(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "run: --output-dir" in text and "optimization: --epochs EPOCHS times each sample is seen" in text
    assert "(default: 12)" in text and "--config FIELD=VALUE" in text and "--output_dir" not in text
