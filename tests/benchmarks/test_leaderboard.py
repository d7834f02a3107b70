import json

import torch

from benchmarks import leaderboard
from benchmarks.__main__ import newest


def test_the_page_is_that_of_the_newest_result():
    assert leaderboard.PAGE.read_text() == leaderboard.page(newest("leaderboard"))


def test_a_result_file_becomes_two_tables_the_best_first(tmp_path):
    rows = {f"{kind}: {name}: {level}": value for kind in ("maps", "clips") for level in leaderboard.LEVELS
            for name, value in (("worse", 0.2), ("better", 0.9))}  # fmt: skip
    counts = {"samples": 7, "epochs": 2, "maps": 5, "clips": 3}
    for date, result in (("2026-01-01T00", counts), ("2026-01-02T00", counts | rows)):
        keys = {"date": date, "commit": "0123456789ab", "result": result}
        (tmp_path / f"{date}-leaderboard.json").write_text(json.dumps(keys))
    text = leaderboard.page(newest("leaderboard", tmp_path))
    assert text.count("| better | 0.900 | 0.900 | 0.900 | 0.900 |\n| worse | 0.200") == 2
    assert "2026-01-02, commit `0123456789`" in text and "UF1 on 5 maps" in text and "{" not in text
    assert "Nothing has been measured" in leaderboard.page(None)


def test_small_networks_have_the_published_sizes_and_learn():
    sizes = {name: sum(p.numel() for p in build(3).parameters()) for name, build in leaderboard.SMALL.items()}
    assert sizes == {"STSTNet-sized": 1651, "Off-ApexNet-sized": 2664475, "SSSNet-sized": 624259}
    maps, labels = torch.randn(24, 3, 28, 28), torch.arange(24) % 3
    maps += labels[:, None, None, None] * torch.ones(3, 28, 28).tril()
    for name, build in leaderboard.SMALL.items():
        model = leaderboard.train_small_cnn(maps, labels, 3, 0, build, 40)
        assert (model(maps).argmax(1) == labels).float().mean() > 0.8, name
