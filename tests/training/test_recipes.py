import pytest
import torch

from mer_hf.registry import ARCHITECTURES
from mer_hf.training.build import build_model
from mer_hf.training.config import RECIPES, TrainingConfig, TrainingError, parse_args, read_recipe
from mer_hf.training.optimization import make_optimizer
from tests.models.tiny import TINY

NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
FLAGS = ["--output-dir", "run", "--data", "flows:x.npz", "--protocol", "loso"]


def test_every_architecture_has_its_papers_recipe_and_one_that_starts_from_synthetic_motion():
    expected = {f"{key}-{kind}" for key in ARCHITECTURES for kind in ("paper", "synthetic-start")}
    assert set(NAMES) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_gives_a_network_and_an_optimizer(name):
    config = parse_args([*FLAGS, "--recipe", name])
    assert config.recipe == name and config.selection == "last"  # no recipe selects on tested clips
    small = {**TINY[config.model].config, **config.config}
    settings = {**read_recipe(name), "config": small, "processor": TINY[config.model].processor}
    settings.pop("init_from", None)
    config = TrainingConfig(output_dir="run", **settings)
    model, _ = build_model(config, ("a", "b", "c"))
    groups = make_optimizer(model, config).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_the_papers_numbers_are_those_of_the_specifications():
    htnet, mmnet, hsta, facesleuth = (
        parse_args([*FLAGS, "--recipe", f"{key}-paper"]) for key in ("htnet", "mmnet", "hsta", "facesleuth")
    )
    assert (htnet.lr, htnet.epochs, htnet.batch_size, htnet.optimizer) == (5e-5, 800, 256, "adam")
    assert (mmnet.lr, mmnet.weight_decay, mmnet.epochs, mmnet.lr_decay) == (8e-4, 0.6, 74, 0.987)
    assert (hsta.lr, hsta.layer_decay, hsta.warmup_epochs, hsta.sampling) == (6.25e-5, 0.9, 5, "balanced")
    assert (facesleuth.lr_of, facesleuth.batch_size) == ({"direction": 5e-3}, 50)


def test_flags_go_over_the_recipe_and_fields_are_joined():
    config = parse_args(
        [*FLAGS, "--recipe", "facesleuth-paper", "--epochs", "3", "--config", "image_size=64"]
    )
    assert config.epochs == 3 and config.batch_size == 50
    assert config.config == {"attention_type": "soa", "image_size": 64}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "sets epoch, which is no field that a recipe may set"),
        ("resume: true", "sets resume, which is no field"),
        ("epochs: many", "epochs must be"),
        ("lr: fast", "lr must be"),
        ("- epochs", "must be a list of field: value, got list"),
        ("{", "is no YAML"),
    ],
)
def test_a_wrong_recipe_is_told_in_one_line(tmp_path, text, message):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(TrainingError, match=message) as caught:
        parse_args([*FLAGS, "--recipe", str(tmp_path / "own.yaml")])
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(TrainingError, match=r"there is no recipe htnet\. Choose from facesleuth-paper"):
        parse_args([*FLAGS, "--recipe", "htnet"])


def test_mean_colour_is_what_faces_are_filled_with():
    """The recipes' augmentation fills with 0, which is the mean colour once a picture is normalised."""
    from mer_hf.training.samples import augment_faces

    pixels = torch.ones(8, 2, 3, 32, 32)
    changed = augment_faces({"pixel_values": pixels}, 0.0, 8, [0])["pixel_values"]
    assert set(changed.unique().tolist()) == {0.0, 1.0}
