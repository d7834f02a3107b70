"""Deploys the page of `space/` as a Space of its own, with the package that it imports.

The package is on no index, so it comes along. On Spaces the repository's files lie beside `app.py` only when
the page starts: while the requirements are installed nothing but requirements.txt is there (public build logs
show `RUN --mount=target=requirements.txt,source=requirements.txt pip install ... -r requirements.txt`). A
path to a wheel would not be found then. So

- a public Space carries the wheel, and its requirements name it by the address that it has in the Space's
  own repository, with its sha256. Files and requirements change in one commit, and a new wheel is a new line,
  which no cached layer of the image answers.
- a private Space's files cannot be fetched without a token, and the build of a Gradio Space gets none (Docker
  Spaces alone can mount a secret). It carries the wheel laid open beside `app.py`, where Python finds it, and
  its requirements name what the package needs.

Both were tried against a Hub on loopback, with pip, in a fresh environment (`tests/hub/test_space.py`). The
build on huggingface.co itself was not tried; public Spaces name wheels of their own by such addresses.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from urllib.parse import quote
from zipfile import ZipFile

from huggingface_hub import HfApi, SpaceCard
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mer_hf.utils.provenance import sha256_of

from .upload import check_name, one_line_errors, upload
from .wheel import build_wheel

PAGE = "mer_hf/_data/space/"
"""Where the wheel has the page."""
OURS = ("mer_hf/", "mer_hf-")
"""How the names begin of what an earlier deployment may have left: a wheel, or one laid open."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class SpacePlan:
    """What a deployment would upload and set.

    Attributes:
        repo_id (`str`): Of the Space.
        files (`tuple[tuple[str, int], ...]`): Name and size in bytes.
        requirements (`str`): requirements.txt.
        settings (`tuple[str, ...]`): In words; of secrets the names alone.
    """

    repo_id: str
    files: tuple[tuple[str, int], ...]
    requirements: str
    settings: tuple[str, ...]

    def __str__(self) -> str:
        total = sum(size for _, size in self.files)
        lines = [f"to the Space {self.repo_id}:", *(f"{size:12,}  {name}" for name, size in self.files)]
        lines += [f"{total:12,}  in all", "", "requirements.txt:", *self.requirements.splitlines()]
        return "\n".join([*lines, "", "to be set:", *(self.settings or ["nothing"])])


def deploy_space(
    repo_id: str,
    *,
    private: bool = False,
    hardware: str | None = None,
    secrets: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    dry_run: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    progress: bool = True,
) -> SpacePlan | str:
    """Deploy the page as a Space, or a new version of it.

    Variables and secrets are set first, then everything is uploaded in one commit, then the hardware is asked
    for: until that commit the Space runs the version that it has.

    Args:
        repo_id (`str`): `owner/name`.
        private (`bool`, *optional*, defaults to `False`): Whether nobody else may see it. An existing Space
            keeps what it is.
        hardware (`str`, *optional*): Name of a machine, such as `cpu-upgrade`.
        secrets (`Sequence[str]`, *optional*): Names; each value is read from the environment variable of
            that name, and never shown.
        variables (`Mapping[str, str]`, *optional*): Names and values that everybody may see.
        dry_run (`bool`, *optional*, defaults to `False`): Only say what would be done.
        endpoint (`str`, *optional*): Of the Hub; huggingface_hub's by default.
        token (`str`, *optional*): huggingface_hub's by default.
        progress (`bool`, *optional*, defaults to `True`): Whether to show bars.

    Returns:
        [`SpacePlan`] or `str`: With `dry_run` the plan, else the Space's address.

    Raises:
        ValueError: In one line, if a name is none, a secret is not in the environment, the hardware is
            unknown, the page's header does not fit, there is no token or no permission, or the connection is
            lost; it says what has been changed.
    """
    check_name(repo_id)
    variables = dict(variables or {})
    values = secret_values(secrets, variables)
    api = HfApi(endpoint=endpoint, token=token)
    (enable_progress_bars if progress else disable_progress_bars)()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "space"
        wheel = build_wheel(Path(scratch))
        files = assemble(wheel, folder, api.endpoint, repo_id, private)
        if dry_run:
            sizes = tuple((name, path.stat().st_size) for name, path in files.items())
            settings = _settings(private, hardware, secrets, variables)
            return SpacePlan(repo_id, sizes, (folder / "requirements.txt").read_text(), settings)
        if _prepare(api, repo_id, private, hardware, values, variables) != private:
            shutil.rmtree(folder)
            files = assemble(wheel, folder, api.endpoint, repo_id, not private)
        with one_line_errors(api, repo_id):
            there = api.list_repo_files(repo_id, repo_type="space")
        upload(
            api,
            repo_id,
            files,
            message="Deploy the page of mer_hf",
            repo_type="space",
            remove=[name for name in there if name.startswith(OURS) and name not in files],
            space_sdk="gradio",
        )
    address = f"{api.endpoint}/spaces/{repo_id}"
    if hardware:
        with one_line_errors(
            api, repo_id, state=f"The page was deployed to {address} on the hardware it had"
        ):
            api.request_space_hardware(repo_id, hardware)
    return address


def secret_values(names: Sequence[str], variables: Mapping[str, str]) -> dict[str, str]:
    """The secrets, from the environment.

    Raises:
        ValueError: In one line, without any value, if a name is none or given twice, or is not in the
            environment.
    """
    for kind, given in (("secret", names), ("variable", variables)):
        # What is no name may be a value, which is not repeated.
        if any(not NAME.fullmatch(name) for name in given):
            raise ValueError(
                f"the name of a {kind} may have letters, digits and underscores alone. A secret is given by "
                "its name; its value is read from the environment variable of that name."
            )
    if both := set(names) & set(variables):
        raise ValueError(
            f"{min(both)} is given as a secret and as a variable. Everybody sees a variable: choose."
        )
    for name in names:
        if not os.environ.get(name):
            raise ValueError(
                f"there is no environment variable {name} to read the secret from. Set it first."
            )
    return {name: os.environ[name] for name in names}


def assemble(wheel: Path, folder: Path, endpoint: str, repo_id: str, private: bool) -> dict[str, Path]:
    """Write the Space's files.

    Args:
        wheel (`Path`): Of the package; it carries the page.
        folder (`Path`): Is made.
        endpoint (`str`): Of the Hub.
        repo_id (`str`): Of the Space.
        private (`bool`): Whether the wheel is laid open.

    Returns:
        `dict[str, Path]`: Path in the repository to the file here.

    Raises:
        ValueError: In one line, if the page is not as a Space needs it.
    """
    folder.mkdir()
    with ZipFile(wheel) as archive:
        for name in filter(lambda name: name.startswith(PAGE), archive.namelist()):
            path = folder / name.removeprefix(PAGE)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        head = HeaderParser().parsestr(archive.read(metadata).decode())
        needed = [Requirement(line) for line in head.get_all("Requires-Dist")]
        check_header(folder, needed)
        if private:
            archive.extractall(folder)
        else:
            shutil.copy(wheel, folder)
    path = folder / "requirements.txt"
    address = f"{endpoint}/spaces/{repo_id}/resolve/main/{quote(wheel.name)}#sha256={sha256_of(wheel)}"
    lines = _laid_open(needed) if private else [f"mer-hf[space] @ {address}"]
    path.write_text(requirements(path.read_text(), lines))
    return {each.relative_to(folder).as_posix(): each for each in sorted(folder.rglob("*")) if each.is_file()}


def _laid_open(needed: Sequence[Requirement]) -> list[str]:
    """What the package needs with its extra `space`, without Gradio, which `sdk_version` sets."""
    found = []
    for each in needed:
        wanted = each.marker is None or each.marker.evaluate({"extra": "space"})
        if wanted and canonicalize_name(each.name) != "gradio":
            found.append(f"{each.name}{each.specifier}")
    return found


def requirements(text: str, package: Sequence[str]) -> str:
    """The page's requirements, with other lines in the place of the one that names the package.

    Raises:
        ValueError: If no line names it, or several.
    """
    lines = text.splitlines()
    named = [index for index, line in enumerate(lines) if _name_of(line) == "mer-hf"]
    if len(named) != 1:
        raise ValueError(f"space/requirements.txt must name mer-hf in one line, and does in {len(named)}.")
    lines[named[0] : named[0] + 1] = package
    return "\n".join(lines) + "\n"


def _name_of(line: str) -> str | None:
    try:
        return canonicalize_name(Requirement(line.partition(" #")[0]).name)
    except InvalidRequirement:  # an option, a comment or an empty line
        return None


def check_header(folder: Path, needed: Sequence[Requirement]) -> None:
    """Refuse a page whose YAML header Spaces could not build from.

    Args:
        folder (`Path`): With README.md.
        needed (`Sequence[Requirement]`): Of the package.

    Raises:
        ValueError: In one line.
    """
    try:
        head = SpaceCard((folder / "README.md").read_text()).data
    except Exception as error:  # of the YAML library, or huggingface_hub's own
        reason = " ".join(str(error).split())
        raise ValueError(f"the header of space/README.md cannot be read ({reason}).") from error
    if head.sdk != "gradio":
        raise ValueError(f"the header of space/README.md has sdk {head.sdk!r}; expected gradio.")
    if not head.app_file or not (folder / head.app_file).is_file():
        raise ValueError(
            f"the header of space/README.md names app_file {head.app_file!r}, which is not there."
        )
    (gradio,) = [each.specifier for each in needed if canonicalize_name(each.name) == "gradio"]
    if not head.sdk_version or not gradio.contains(str(head.sdk_version)):
        raise ValueError(
            f"the header of space/README.md has sdk_version {head.sdk_version}; the package needs "
            f"gradio{gradio}."
        )


def _prepare(
    api: HfApi,
    repo_id: str,
    private: bool,
    hardware: str | None,
    secrets: Mapping[str, str],
    variables: Mapping[str, str],
) -> bool:
    """Make the Space if it is not there, set variables and secrets; whether it is private."""
    with one_line_errors(api, repo_id):
        if hardware:
            known = [each.name for each in api.list_spaces_hardware()]
            if hardware not in known:
                raise ValueError(
                    f"{hardware!r} is no hardware of {api.endpoint}. Choose from {', '.join(known)}."
                )
        api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        is_private = bool(api.space_info(repo_id).private)
    if private and not is_private:
        raise ValueError(
            f"{repo_id} is there and public. Make it private in its settings first, or leave --private out."
        )
    with one_line_errors(api, repo_id, state=f"The files of {repo_id} have not changed"):
        for name, value in variables.items():
            api.add_space_variable(repo_id, name, value)
        for name, value in secrets.items():
            api.add_space_secret(repo_id, name, value)
    return is_private


def _settings(
    private: bool, hardware: str | None, secrets: Sequence[str], variables: Mapping[str, str]
) -> tuple[str, ...]:
    lines = ["private, where it is made"] if private else []
    lines += [f"variable {name}={value}" for name, value in variables.items()]
    lines += [f"secret {name}, from the environment" for name in secrets]
    return (*lines, f"hardware {hardware}") if hardware else tuple(lines)
