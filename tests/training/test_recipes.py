from dataclasses import replace

import pytest
import torch

from mer_hf.loading import CHECKPOINTS
from mer_hf.registry import ARCHITECTURES
from mer_hf.training.augmentation import generator_of, move_faces
from mer_hf.training.build import build_model
from mer_hf.training.config import RECIPES, TrainingError, parse_args, read_stored
from mer_hf.training.optimization import make_optimizer
from tests.models.tiny import TINY

NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
FLAGS = ["--output-dir", "run", "--data", "flows:x.npz", "--protocol", "loso"]


def test_every_architecture_has_its_papers_recipe_its_bundled_one_and_one_that_starts_from_it():
    expected = {
        f"{key}-{kind}" for key in ARCHITECTURES for kind in ("paper", "synthetic", "synthetic-start")
    }
    assert set(NAMES) == expected | {"hsta-synthetic-first"}  # the weights that hsta-synthetic goes on from


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_gives_a_network_and_an_optimizer(name):
    drawn = name.endswith(("-synthetic", "-first"))
    config = parse_args([*(FLAGS[:2] if drawn else FLAGS), "--recipe", name])
    assert config.recipe == name and config.selection == "last"  # no recipe selects on tested clips
    if not drawn:  # these are small already
        small = {**TINY[config.model].config, **config.config}
        config = replace(config, config=small, processor=TINY[config.model].processor)
    model = build_model(replace(config, init_from=None), ("a", "b", "c"))
    groups = make_optimizer(model, config).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_a_bundled_checkpoint_was_trained_by_its_recipe(key):
    recorded = read_stored(CHECKPOINTS / f"{key}-synthetic")
    seed = str(recorded["seed"])  # HTNet's was chosen among five
    flags = ["--output-dir", "run", "--recipe", f"{key}-synthetic", "--seed", seed]
    recipe = parse_args(flags).stored()
    assert recorded == {name: recipe[name] for name in recorded} | {"recipe": recorded.get("recipe")}


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
        ("epoch: 3", "sets epoch, which is not a field of recipes"),
        ("resume: true", "sets resume, which is not a field"),
        ("epochs: many", "--epochs: invalid int value: 'many'"),
        ("lr: fast", "--lr: invalid float value: 'fast'"),
        ("schedule: linear", "--schedule: invalid choice: 'linear'"),
        ("config: [3]", "expected field=value"),
        ("- epochs", "must hold lines of field: value, got a list"),
        ("{", "is not valid YAML"),
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
    pixels = torch.ones(8, 2, 3, 32, 32)
    changed = move_faces({"pixel_values": pixels}, 0.0, 8, generator_of([0]))["pixel_values"]
    assert set(changed.unique().tolist()) == {0.0, 1.0}
