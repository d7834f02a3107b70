"""What runs at GitHub: the files are sound, and every command in them is one that `make` has."""

import re
from pathlib import Path

import pytest
import yaml

from tests.test_repository import PROJECT

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
TARGETS = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())


def read(path: Path) -> dict:
    text = yaml.safe_load(path.read_text())
    return {
        ("on" if key is True else key): value for key, value in text.items()
    }  # YAML 1.1 reads `on` as yes


def jobs() -> list:
    return [
        pytest.param(job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_says_when_it_runs_and_what_it_may(path):
    workflow = read(path)
    assert workflow["on"] and workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("job", jobs())
def test_every_step_is_an_action_of_one_version_or_a_target_of_make(job):
    assert job["runs-on"].startswith("ubuntu-") and job["timeout-minutes"]
    for step in job["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v1)", step["uses"])
        else:
            command, target, *_ = step["run"].split()
            assert command == "make" and target in TARGETS, step["run"]


def test_every_python_of_the_package_is_tested():
    matrix = read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["test"]["strategy"]["matrix"]
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert matrix["python"] == named


def test_only_the_job_that_publishes_may_do_so_and_holds_no_secret():
    release = read(ROOT / ".github" / "workflows" / "release.yml")
    publish = release["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"} and publish["needs"] == "build"
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_something_and_for_no_recording(path):
    form = read(path)
    assert form["name"] and form["description"]
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert part["attributes"].get("label") or part["type"] == "markdown"
    ids = [part["id"] for part in form["body"] if "id" in part]
    assert len(ids) == len(set(ids)) and ids
