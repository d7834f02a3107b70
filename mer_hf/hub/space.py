"""Deploy the page of `space/` as a Space, with the package that it imports.

mer_hf is not on a package index yet, so a checkout builds its wheel and the Space carries it. While a Space
installs its requirements, only requirements.txt is there (public build logs show `RUN
--mount=target=requirements.txt,source=requirements.txt pip install ... -r requirements.txt`), so a path to a
wheel would not be found:

- A public Space names the wheel by its address in the Space's own repository, with its sha256. Files and
  requirements change in one commit, and a new wheel is a new line, so that no cached layer of the image is
  taken for it.
- The files of a private Space cannot be fetched without a token, and the build of a Gradio Space gets none.
  It carries the unpacked wheel beside `app.py`, and its requirements name what the package needs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution
from pathlib import Path
from urllib.parse import quote
from zipfile import ZipFile

from huggingface_hub import HfApi, constants
from packaging.requirements import Requirement

from mer_hf.utils.provenance import sha256_of

from .upload import check_name, one_line_errors, plan, upload

CHECKOUT = Path(__file__).resolve().parents[2]
CARRIED = (".py", ".md", ".txt", ".json", ".yaml", ".j2", ".safetensors", ".npz", ".css", ".js", ".html",
           ".task")  # fmt: skip
"""Suffixes that leave a checkout: clips and pictures that lie there do not."""
REPLACED = ("mer_hf-*", "mer_hf/*")
"""What an earlier deployment may have left: a wheel, or an unpacked one."""


def deploy_space(
    repo_id: str,
    *,
    private: bool = False,
    hardware: str | None = None,
    secrets: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> str:
    """Deploy the page as a Space, or a new version of it.

    Variables and secrets are set first, then everything is uploaded in one commit, then the hardware is
    requested. Until that commit the Space runs the version that it has.

    Args:
        repo_id (`str`): `owner/name`.
        private (`bool`, *optional*, defaults to `False`): Whether a new Space is private. An existing one
            keeps its setting.
        hardware (`str`, *optional*): Name of a machine, such as `cpu-upgrade`.
        secrets (`Sequence[str]`, *optional*): Names; each value is read from the environment variable of
            that name, and never shown.
        variables (`Mapping[str, str]`, *optional*): Names and values that everybody may see.
        dry_run (`bool`, *optional*, defaults to `False`): Return what would be done, and do nothing.

    Returns:
        `str`: With `dry_run` the files and settings, else the Space's address.

    Raises:
        ValueError: In one line, if this is not a checkout, a name is invalid, a secret is not in the
            environment, there is no token or permission, or the connection is lost; it says what has changed.
    """
    check_name(repo_id)
    variables = dict(variables or {})
    values = secret_values(secrets, variables)
    with tempfile.TemporaryDirectory() as scratch:
        wheel, folder = build_wheel(Path(scratch)), Path(scratch, "space")
        if dry_run:
            assemble(wheel, folder, repo_id, private)
            details = ["requirements.txt:", (folder / "requirements.txt").read_text(), "to be set:"]
            details += ["private, if it is new"] * private
            details += [f"variable {name}={value}" for name, value in variables.items()]
            details += [f"secret {name}, from the environment" for name in secrets]
            details += [f"hardware {hardware}"] if hardware else []
            return plan(folder, f"the Space {repo_id}", "\n".join(details))
        assemble(wheel, folder, repo_id, _prepare(repo_id, private, values, variables))
        upload(folder, repo_id, "Deploy the page of mer_hf", repo_type="space", remove=REPLACED)
    address = f"{constants.ENDPOINT}/spaces/{repo_id}"
    if hardware:
        state = f"The page was deployed to {address}; its hardware has not changed"
        with one_line_errors(repo_id, state=state):
            HfApi().request_space_hardware(repo_id, hardware)
    return address


def secret_values(names: Sequence[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Read the secrets from the environment; no value is part of an error."""
    every = (*names, *variables)
    if not all(name.isascii() and name.isidentifier() for name in every):
        raise ValueError(  # it may be a value: do not repeat it
            "the name of a secret or variable may have only letters, digits and underscores. A secret is "
            "given by its name; its value is read from the environment variable of that name."
        )
    if both := set(names) & set(variables):
        raise ValueError(f"{min(both)} is both a secret and a variable. Everybody sees a variable: choose.")
    for name in names:
        if not os.environ.get(name):
            raise ValueError(f"the environment variable {name}, which holds the secret, is not set.")
    return {name: os.environ[name] for name in names}


def build_wheel(folder: Path) -> Path:
    """Build the package with pip, from a copy of the checkout without the clips and pictures in it."""
    if not (CHECKOUT / "space" / "app.py").is_file():
        raise ValueError(
            "deploy-space works only in a checkout of the project: mer_hf is not on a package index yet, so "
            "a Space cannot install it by name. Clone the repository and run the command there."
        )
    copy = folder / "checkout"
    for name in ("mer_hf", "hub_cards"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=_stays)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copyfile(CHECKOUT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", folder, copy]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        reason = next((line for line in lines if "ERROR" in line), lines[-1])
        raise ValueError(f"pip could not build the wheel: {reason.strip()[:300]}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def _stays(folder: str, names: list[str]) -> list[str]:
    """List the names that are not copied, for `copytree`."""
    paths = [Path(folder, name) for name in names]
    kept = [path for path in paths if path.is_dir() or path.suffix in CARRIED or path.name == "NOTICE"]
    carried = [path for path in kept if not path.is_symlink()]
    return [path.name for path in paths if path not in carried or path.name in ("__pycache__", "examples")]


def assemble(wheel: Path, folder: Path, repo_id: str, private: bool) -> None:
    """Write the files of the Space: the page, the package, and requirements that install it."""
    shutil.copytree(CHECKOUT / "space", folder, ignore=_stays)
    if private:
        with ZipFile(wheel) as archive:
            archive.extractall(folder)
        (info,) = folder.glob("mer_hf-*.dist-info")
        needed = [Requirement(line) for line in Distribution.at(info).requires]
        needed = [each for each in needed if not each.marker or each.marker.evaluate({"extra": "space"})]
        package = "\n".join(f"{each.name}{each.specifier}" for each in needed if each.name != "gradio")
    else:
        shutil.copy(wheel, folder)
        address = f"{constants.ENDPOINT}/spaces/{repo_id}/resolve/main/{quote(wheel.name)}"
        package = f"mer-hf[space] @ {address}#sha256={sha256_of(wheel)}"
    path = folder / "requirements.txt"
    path.write_text(path.read_text().replace("mer-hf[space]", package))


def _prepare(repo_id: str, private: bool, secrets: Mapping[str, str], variables: Mapping[str, str]) -> bool:
    """Create the Space if necessary, set variables and secrets, and tell whether it is private."""
    api = HfApi()
    with one_line_errors(repo_id):
        api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        is_private = bool(api.space_info(repo_id).private)
    if private and not is_private:
        raise ValueError(f"{repo_id} exists and is public. Make it private in its settings first.")
    with one_line_errors(repo_id, state=f"The files of {repo_id} have not changed"):
        for name, value in variables.items():
            api.add_space_variable(repo_id, name, value)
        for name, value in secrets.items():
            api.add_space_secret(repo_id, name, value)
    return is_private
