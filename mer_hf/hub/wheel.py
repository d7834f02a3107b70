"""The package as one wheel, from a checkout or from an installed wheel, for where it is on no index.

From a checkout pip builds it. An installed wheel is packed again from its own RECORD, which names every file
with its hash, so that the copy holds what was installed and nothing else.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent

CARRIED = (".py", ".md", ".txt", ".json", ".yaml", ".j2", ".safetensors", ".npz", ".css", ".js", ".html")
"""What a checkout's folders give to the wheel: clips and pictures that lie there stay there."""
LEFT_OUT = ("__pycache__", "examples")
INSTALLERS_OWN = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json")
"""Written by pip or uv when they install; no part of the wheel."""
DATE = (2020, 2, 2, 0, 0, 0)
"""Of every member, as hatchling has it: the same files give the same wheel, byte for byte."""


def build_wheel(folder: Path) -> Path:
    """The package that runs, as a wheel.

    Args:
        folder (`Path`): Where it is written.

    Returns:
        `Path`: The wheel.

    Raises:
        ValueError: In one line, if pip cannot build it, or the package was installed in another way than from
            a wheel, or was changed since.
    """
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "space" / "app.py").is_file():
        return build_checkout(CHECKOUT, folder)
    try:
        installed = distribution("mer-hf")
    except PackageNotFoundError as error:
        raise ValueError(
            "mer_hf is neither installed nor a checkout, so no wheel can be made of it."
        ) from error
    if Path(installed.locate_file("mer_hf")).resolve() != PACKAGE:
        raise ValueError(f"the package that runs ({PACKAGE}) is not the one that is installed. Install it.")
    return pack_installed(installed, folder)


def build_checkout(checkout: Path, folder: Path) -> Path:
    """Build a checkout with pip, from a copy, so that what else lies in the checkout is not carried along."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "checkout"
        for name in ("mer_hf", "space", "hub_cards"):
            shutil.copytree(checkout / name, copy / name, ignore=_stays)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(checkout / name, copy / name)
        built = Path(scratch) / "built"
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", built, copy]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            reason = next(
                (line for line in lines if "ERROR" in line or "No module named pip" in line), lines[-1]
            )
            raise ValueError(f"pip could not build the wheel: {reason.strip()[:300]}")
        (wheel,) = built.glob("*.whl")
        return Path(shutil.copy(wheel, folder))


def _stays(folder: str, names: list[str]) -> list[str]:
    """The names that are not copied, for `copytree`."""
    paths = {name: Path(folder, name) for name in names}
    return [
        name
        for name, path in paths.items()
        if path.is_symlink() or name in LEFT_OUT or (path.is_file() and path.suffix not in CARRIED)
    ]


def pack_installed(installed: Distribution, folder: Path) -> Path:
    """Pack an installed wheel again.

    Args:
        installed (`Distribution`): Of `importlib.metadata`.
        folder (`Path`): Where the wheel is written.

    Returns:
        `Path`: The wheel; the same installation gives the same bytes.

    Raises:
        ValueError: In one line, if it was not installed from a wheel, or a file has changed since.
    """
    if json.loads(installed.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable"):
        raise ValueError("an editable installation is no wheel. Run the command in its checkout.")
    stem = f"mer_hf-{installed.version}"
    tags = [line.split()[1] for line in installed.read_text("WHEEL").splitlines() if line.startswith("Tag:")]
    wheel = folder / f"{stem}-{tags[0]}.whl"
    record = []
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for file in sorted(filter(_belongs, installed.files or [])):
            archive.writestr(_member(file.as_posix()), _unchanged(file))
            record.append(f"{file.as_posix()},{file.hash.mode}={file.hash.value},{file.size}\n")
        record.append(f"{stem}.dist-info/RECORD,,\n")
        archive.writestr(_member(f"{stem}.dist-info/RECORD"), "".join(record))
    return wheel


def _belongs(file: PackagePath) -> bool:
    """Whether a file of RECORD came with the wheel; what Python compiled has no hash."""
    own = file.parts[0] == "mer_hf" or (file.parts[0].startswith("mer_hf-") and len(file.parts) > 1)
    return own and file.hash is not None and file.name not in INSTALLERS_OWN


def _unchanged(file: PackagePath) -> bytes:
    path = Path(file.locate())
    if not path.is_file():
        raise ValueError(f"{path} is missing from the installation. Install mer-hf again.")
    content = path.read_bytes()
    found = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, content).digest()).rstrip(b"=").decode()
    if found != file.hash.value:
        raise ValueError(f"{path} has changed since it was installed. Install mer-hf again.")
    return content


def _member(name: str) -> ZipInfo:
    member = ZipInfo(name, DATE)
    member.compress_type, member.external_attr = ZIP_DEFLATED, 0o644 << 16
    return member
