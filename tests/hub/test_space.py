import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi.responses import JSONResponse
from huggingface_hub import HfApi, SpaceCard
from packaging.requirements import Requirement

from mer_hf.cli import main
from mer_hf.hub import space as module
from mer_hf.hub.space import assemble, build_wheel, deploy_space
from mer_hf.synthetic.clips import example_clip
from mer_hf.video.clip import write_clip

ROOT = Path(__file__).resolve().parents[2]
WHEEL = "mer_hf-0.1.0-py3-none-any.whl"
METADATA = """Metadata-Version: 2.4
Name: mer-hf
Version: 0.1.0
Provides-Extra: space
Requires-Dist: numpy>=2
Requires-Dist: pandas; extra == "space"
Requires-Dist: gradio<7,>=6.31; extra == "space"
Requires-Dist: pytest; extra == "dev"
"""


def small_wheel(folder, name=WHEEL, code="one"):
    """A wheel with little in it: pip takes seconds to build the real one."""
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("mer_hf/__init__.py", f"{code} = 1\n")
        archive.writestr("mer_hf-0.1.0.dist-info/METADATA", METADATA)
    return folder / name


@pytest.fixture
def unbuilt(monkeypatch):
    monkeypatch.setattr(module, "build_wheel", small_wheel)


def files_of_page():
    return set(HfApi().list_repo_files("me/page", repo_type="space"))


def fetched(token=None):
    """The folder of the deployed Space."""
    folder = HfApi(token=token).snapshot_download("me/page", repo_type="space")
    return Path(folder)


def test_a_deployed_space_holds_the_page_and_the_wheel_that_its_requirements_name(hub, unbuilt):
    with hub() as url:
        assert deploy_space("me/page") == f"{url}/spaces/me/page"
        info = HfApi().space_info("me/page")
        folder = fetched(token=False)
        line = (folder / "requirements.txt").read_text().splitlines()[-1]
        wheel = urllib.request.urlopen(line.removeprefix("mer-hf[space] @ ").split("#")[0]).read()
        files = files_of_page()
    page = {"README.md", "app.py", "packages.txt", "page/style.css", "page/motion.js", "page/explain.md"}
    assert page | {"requirements.txt", WHEEL} <= files
    assert not [name for name in files if name.endswith((".mp4", ".png", ".pyc"))]
    assert info.sdk == "gradio" and not info.private
    digest = hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()
    assert hashlib.sha256(wheel).hexdigest() == digest
    assert line == f"mer-hf[space] @ {url}/spaces/me/page/resolve/main/{WHEEL}#sha256={digest}"


def test_a_private_space_carries_the_unpacked_package_and_its_needs(hub, unbuilt):
    with hub():
        deploy_space("me/page", private=True)
        deploy_space("me/page")  # an existing one keeps its setting
        with pytest.raises(Exception, match="401"):
            fetched(token=False)
        folder = fetched()
    assert (folder / "requirements.txt").read_text().splitlines()[1:] == ["numpy>=2", "pandas"]
    assert not (folder / WHEEL).exists() and (folder / "mer_hf/__init__.py").is_file()
    assert (folder / "mer_hf-0.1.0.dist-info/METADATA").is_file()


def test_a_public_space_is_not_taken_for_a_private_one(hub, unbuilt):
    with hub():
        deploy_space("me/page")
        with pytest.raises(ValueError, match=r"me/page exists and is public\. Make it private in"):
            deploy_space("me/page", private=True)


def test_a_new_version_replaces_the_old_wheel_in_one_commit(hub, monkeypatch):
    old = "mer_hf-0.0.9-py3-none-any.whl"
    monkeypatch.setattr(module, "build_wheel", lambda folder: small_wheel(folder, old))
    with hub():
        api, repository = HfApi(), {"repo_id": "me/page", "repo_type": "space"}
        deploy_space("me/page")
        assert old in files_of_page()
        api.upload_file(path_or_fileobj=b"of the owner", path_in_repo="notes.md", **repository)
        before = len(api.list_repo_commits(**repository))
        monkeypatch.setattr(module, "build_wheel", small_wheel)
        deploy_space("me/page")
        assert len(api.list_repo_commits(**repository)) == before + 1
        files = files_of_page()
        assert {name for name in files if name.endswith(".whl")} == {WHEEL} and "notes.md" in files


def test_settings_are_made_by_name_and_a_secret_is_seen_nowhere(tmp_path, hub, unbuilt, monkeypatch, capfd):
    monkeypatch.setenv("DEMO_KEY", "swordfish-1234")
    flags = ["--secret", "DEMO_KEY", "--variable", "DEMO_MODE=a=b", "--hardware", "cpu-upgrade"]
    with hub() as url:
        api = HfApi()
        assert main(["deploy-space", "me/page", *flags]) == 0
        assert main(["deploy-space", "me/page", *flags, "--dry-run"]) == 0
        assert api.get_space_runtime("me/page").requested_hardware == "cpu-upgrade"
        assert set(api.get_space_secrets("me/page")) == {"DEMO_KEY"}
        variables = api.get_space_variables("me/page")
        assert {name: variable.value for name, variable in variables.items()} == {"DEMO_MODE": "a=b"}
    printed = "".join(capfd.readouterr())
    assert f"{url}/spaces/me/page\n" in printed and "secret DEMO_KEY, from the environment" in printed
    assert "swordfish" not in printed
    kept = [path for path in (tmp_path / "hub").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"swordfish" in path.read_bytes()]
    hashed = hashlib.sha256(b"swordfish-1234").hexdigest()
    assert hashed in (tmp_path / "hub/space/me--page.json").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"secrets": ["NOT_THERE"]},
            "the environment variable NOT_THERE, which holds the secret, is not set",
        ),
        ({"secrets": ["PATH"], "variables": {"PATH": "x"}}, "PATH is both a secret and a variable"),
        ({"secrets": ["KEY=swordfish"]}, "A secret is given by its name"),
        ({"variables": {"a-b": "x"}}, "the name of a secret or variable may have only letters"),
    ],
)
def test_what_cannot_be_set_is_one_line_and_nothing_is_made(hub, unbuilt, settings, message):
    with hub():
        with pytest.raises(ValueError, match=message) as caught:
            deploy_space("me/page", **settings)
        assert not HfApi().repo_exists("me/page", repo_type="space")
    assert "\n" not in str(caught.value) and "swordfish" not in str(caught.value)


def test_hardware_that_is_refused_is_named_with_what_was_deployed(hub, unbuilt):
    def fail(request):
        refused = request.url.path.endswith("/page/hardware")
        return JSONResponse({"error": "needs a payment method"}, 402) if refused else None

    with hub(fail):
        with pytest.raises(ValueError, match=r"refused \(402: .*payment.* was deployed to .*/spaces/me/page"):
            deploy_space("me/page", hardware="t4-small")
        assert "app.py" in files_of_page()


POINTS = {
    "information": lambda request: request.url.path == "/api/spaces/me/page",
    "variable": lambda request: request.url.path.endswith("/variables"),
    "secret": lambda request: request.url.path.endswith("/secrets"),
    "preupload": lambda request: "/preupload/" in request.url.path,
    "commit": lambda request: "/commit/" in request.url.path,
}


@pytest.mark.parametrize("point", POINTS)
def test_an_interrupted_deployment_leaves_the_old_version_and_a_retry_completes(hub, monkeypatch, point):
    monkeypatch.setattr(module, "build_wheel", small_wheel)
    monkeypatch.setenv("DEMO_KEY", "x")
    broken = [False]

    def fail(request):
        return JSONResponse({"error": "out of order"}, 400) if broken[0] and POINTS[point](request) else None

    settings = {"secrets": ["DEMO_KEY"], "variables": {"A": "b"}}
    with hub(fail):
        deploy_space("me/page", **settings)
        before = HfApi().space_info("me/page").sha
        broken[0] = True
        monkeypatch.setattr(module, "build_wheel", lambda folder: small_wheel(folder, code="two"))
        with pytest.raises(ValueError, match="not changed") as caught:
            deploy_space("me/page", **settings)
        assert "\n" not in str(caught.value)
        broken[0] = False
        assert HfApi().space_info("me/page").sha == before
        deploy_space("me/page", **settings)
        assert HfApi().space_info("me/page").sha != before


def test_a_plan_lists_files_requirements_and_settings_and_sends_nothing(unbuilt, capfd):
    flags = ["--secret", "PATH", "--variable", "MODE=x", "--hardware", "t4-small", "--private"]
    assert main(["deploy-space", "me/page", "--dry-run", *flags]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("to the Space me/page:") and "mer_hf/__init__.py" in printed
    assert "in all" in printed and "\nnumpy>=2\npandas\n" in printed
    lines = [
        "private, if it is new",
        "variable MODE=x",
        "secret PATH, from the environment",
        "hardware t4-small",
    ]
    assert printed.endswith("to be set:\n" + "\n".join(lines) + "\n")
    assert main(["deploy-space", "me/page", "--variable", "MODE"]) == 2
    assert capfd.readouterr().err == "mer-hf: error: expected --variable NAME=VALUE, got MODE\n"


def test_the_header_of_the_page_is_one_that_spaces_can_build_from():
    head = SpaceCard((ROOT / "space" / "README.md").read_text()).data
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["space"]
    (gradio,) = [Requirement(line).specifier for line in needed if line.startswith("gradio")]
    assert head.sdk == "gradio" and gradio.contains(head.sdk_version)
    assert (ROOT / "space" / head.app_file).is_file()
    lines = (ROOT / "space" / "requirements.txt").read_text().splitlines()
    assert lines.count("mer-hf[space]") == 1


def test_outside_a_checkout_deploying_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    with pytest.raises(ValueError, match=r"^deploy-space works only in a checkout .* package index .*\.$"):
        deploy_space("me/page", dry_run=True)


def test_a_wheel_that_cannot_be_built_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ValueError, match="pip could not build the wheel: no message"):
        build_wheel(tmp_path)


STRAY = ("space/clip.mp4", "space/examples/x/talk.md", "mer_hf/data/onset.png", "hub_cards/subject.avi")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout in which lie clips and pictures that must stay where they are."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("mer_hf", "space", "hub_cards"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    (checkout / "space/examples/x").mkdir(parents=True, exist_ok=True)
    for name in STRAY:
        (checkout / name).write_bytes(b"a face")
    (checkout / "space/link.py").symlink_to("/etc/hostname")
    return checkout


def test_clips_and_pictures_in_the_checkout_stay_there(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHECKOUT", checkout)
    assemble(small_wheel(tmp_path), tmp_path / "page", "me/page", private=False)
    names = {path.relative_to(tmp_path / "page").as_posix() for path in (tmp_path / "page").rglob("*")}
    tracked = subprocess.run(["git", "ls-files", "space"], cwd=ROOT, capture_output=True, text=True)
    page = {name.removeprefix("space/") for name in tracked.stdout.split()}
    assert page <= names and not names & {"clip.mp4", "examples", "link.py"}


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHECKOUT", checkout)
        try:
            return build_wheel(tmp_path_factory.mktemp("wheel"))
        except ValueError as error:
            if "hatchling" not in str(error) and "No module named pip" not in str(error):
                raise
            pytest.skip(f"no package index can be reached to build a wheel: {error}")


@pytest.mark.slow
def test_the_wheel_carries_the_package_and_the_cards_and_no_clip(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"mer_hf/_data/hub_cards/{path.name}" for path in (ROOT / "hub_cards").iterdir()} <= names
    assert not [name for name in names if name.endswith((".mp4", ".png", ".avi", ".pyc", "link.py"))]
    tracked = subprocess.run(["git", "ls-files", "mer_hf"], cwd=ROOT, capture_output=True, text=True)
    assert set(tracked.stdout.split()) <= names


def outside(**more):
    """The environment of a process that knows neither this checkout nor its Hugging Face settings."""
    own = ("HF_", "PYTHON", "GRADIO")
    return {name: text for name, text in os.environ.items() if not name.startswith(own)} | more


def run(command, cwd, **more):
    command = [str(part) for part in command]
    return subprocess.run(command, cwd=cwd, env=outside(**more), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def spaces_python(tmp_path_factory):
    """What a Gradio Space has before the requirements: Python, and Gradio at the header's version."""
    folder = tmp_path_factory.mktemp("spaces")
    sdk_version = SpaceCard((ROOT / "space" / "README.md").read_text()).data.sdk_version
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    done = run([python, "-m", "pip", "install", "--quiet", f"gradio[oauth,mcp]=={sdk_version}"], folder)
    if "No matching distribution found for gradio" in done.stderr:
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]
    return python


def install(python, folder):
    """Only requirements.txt is there, as at a Space's build. Torch is held at the version that is tested: the
    newest one is gigabytes where PyTorch's own index cannot be reached."""
    alone = folder.parent / f"{folder.name}-build"
    alone.mkdir()
    shutil.copy(folder / "requirements.txt", alone)
    (alone / "torch.txt").write_text(f"torch=={version('torch').split('+')[0]}\n")
    command = [python, "-m", "pip", "install", "--no-cache-dir", "-r", "requirements.txt"]
    done = run(command, alone, PIP_CONSTRAINT="torch.txt", PIP_RETRIES="0")
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


ASK = """
import sys
from gradio_client import Client, handle_file
client = Client(sys.argv[1], verbose=False)
answer = client.predict(handle_file(sys.argv[2]), "htnet-synthetic", api_name="/analyse")
print(answer["outcome"], answer["label"])
"""


def answer_of(python, folder, clip):
    """Starts `python app.py` in the folder and asks it for one analysis."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    url = f"http://127.0.0.1:{port}/"
    with open(folder.parent / f"{folder.name}.log", "w+") as log:
        page = subprocess.Popen(
            [python, "app.py"], cwd=folder, env=outside(**place), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 300
            while not _answers(url):
                log.seek(0)
                assert page.poll() is None and time.monotonic() < deadline, log.read()[-2000:]
                time.sleep(0.5)
            done = run([python, "-c", ASK, url, clip], folder)
        finally:
            page.terminate()
            page.wait(30)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("private", [False, True])
def test_a_deployed_space_installs_starts_and_answers(
    wheel, spaces_python, tmp_path, hub, monkeypatch, private
):
    clip = tmp_path / "clip.mp4"
    write_clip(clip, example_clip("surprise").clip.frames, 30)
    monkeypatch.setattr(module, "build_wheel", lambda folder: Path(shutil.copy(wheel, folder)))
    run([spaces_python, "-m", "pip", "uninstall", "--yes", "mer-hf"], tmp_path)
    with hub():
        deploy_space("me/page", private=private)
        page = Path(shutil.copytree(fetched(), tmp_path / "page"))
        print(install(spaces_python, page).splitlines()[-1])
        assert answer_of(spaces_python, page, clip) == "micro_expression surprise\n"
    assert list((page / "examples").rglob("*.mp4"))
