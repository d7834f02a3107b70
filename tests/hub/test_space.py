import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from importlib.metadata import PathDistribution, version
from pathlib import Path

import pytest
from fastapi.responses import JSONResponse
from huggingface_hub import HfApi, SpaceCard, constants, snapshot_download

from mer_hf.cli import main
from mer_hf.hub import space as module
from mer_hf.hub.space import deploy_space, requirements
from mer_hf.hub.wheel import build_checkout, build_wheel, pack_installed
from mer_hf.synthetic.clips import example_clip
from mer_hf.video.clip import write_clip
from tests.hub.hub_server import serve

ROOT = Path(__file__).resolve().parents[2]
WHEEL = "mer_hf-0.1.0-py3-none-any.whl"
RECORD = "mer_hf-0.1.0.dist-info/RECORD"
METADATA = """Metadata-Version: 2.4
Name: mer-hf
Version: 0.1.0
Provides-Extra: space
Requires-Dist: numpy>=2
Requires-Dist: pandas; extra == "space"
Requires-Dist: gradio<7,>=6.31; extra == "space"
Requires-Dist: pytest; extra == "dev"
"""


@pytest.fixture(autouse=True)
def plain_uploads(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def small_wheel(folder, name=WHEEL, readme=None, text="mer-hf[space]\n", code="one"):
    """A wheel with the page and little else: pip takes seconds to build the real one."""
    page = "mer_hf/_data/space/"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("mer_hf/__init__.py", f"{code} = 1\n")
        archive.writestr("mer_hf/_data/hub_cards/template.md", "card")
        for each in ("app.py", "packages.txt", "page/style.css"):
            archive.writestr(page + each, (ROOT / "space" / each).read_text())
        archive.writestr(page + "README.md", readme or (ROOT / "space" / "README.md").read_text())
        archive.writestr(page + "requirements.txt", text)
        archive.writestr("mer_hf-0.1.0.dist-info/METADATA", METADATA)
    return folder / name


@pytest.fixture
def unbuilt(monkeypatch):
    monkeypatch.setattr(module, "build_wheel", small_wheel)


def options(url):
    return {"endpoint": url, "token": "hf_local", "progress": False}


def files_of(url, repo_id="me/page"):
    return set(HfApi(endpoint=url, token="x").list_repo_files(repo_id, repo_type="space"))


def fetched(url, folder, token=None, repo_id="me/page"):
    """The deployed folder, downloaded into an empty one."""
    where = {"local_dir": folder, "cache_dir": folder / "c", "endpoint": url}
    snapshot_download(repo_id, repo_type="space", token=token or False, **where)
    return folder


def test_a_deployed_space_holds_the_page_and_the_wheel_that_its_requirements_name(tmp_path, unbuilt):
    with serve(tmp_path / "hub") as url:
        assert deploy_space("me/page", **options(url)) == f"{url}/spaces/me/page"
        info = HfApi(endpoint=url, token="x").space_info("me/page")
        folder = fetched(url, tmp_path / "page")
        line = (folder / "requirements.txt").read_text().splitlines()[-1]
        wheel = urllib.request.urlopen(line.removeprefix("mer-hf[space] @ ").split("#")[0]).read()
    assert files_of_folder(folder) == {
        ".gitattributes", "README.md", "app.py", "packages.txt", "page/style.css", "requirements.txt", WHEEL,
    }  # fmt: skip
    assert info.sdk == "gradio" and not info.private
    assert SpaceCard.load(folder / "README.md").data.app_file == "app.py"
    digest = hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()
    assert hashlib.sha256(wheel).hexdigest() == digest
    assert line == f"mer-hf[space] @ {url}/spaces/me/page/resolve/main/{WHEEL}#sha256={digest}"


def files_of_folder(folder):
    found = (each.relative_to(folder) for each in folder.rglob("*") if each.is_file())
    return {each.as_posix() for each in found if each.parts[0] not in (".cache", "c")}


def test_a_private_space_carries_the_package_laid_open_and_its_needs(tmp_path, unbuilt):
    with serve(tmp_path / "hub") as url:
        deploy_space("me/page", private=True, **options(url))
        deploy_space("me/page", **options(url))  # an existing one keeps what it is
        folder = fetched(url, tmp_path / "page", token="x")
        with pytest.raises(Exception, match="401"):
            fetched(url, tmp_path / "stranger")
    assert (folder / "requirements.txt").read_text() == "numpy>=2\npandas\n"
    assert not (folder / WHEEL).exists() and (folder / "mer_hf/__init__.py").is_file()
    assert (folder / "mer_hf-0.1.0.dist-info/METADATA").is_file()


def test_a_public_space_is_not_taken_for_a_private_one(tmp_path, unbuilt):
    with serve(tmp_path / "hub") as url:
        deploy_space("me/page", **options(url))
        with pytest.raises(
            ValueError, match=r"me/page is there and public\. Make it private in its settings"
        ):
            deploy_space("me/page", private=True, **options(url))


def test_a_new_version_replaces_the_old_wheel_in_one_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "build_wheel", lambda f: small_wheel(f, "mer_hf-0.0.9-py3-none-any.whl"))
    with serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="x")
        deploy_space("me/page", **options(url))
        assert "mer_hf-0.0.9-py3-none-any.whl" in files_of(url)
        api.upload_file(
            path_or_fileobj=b"of the owner", path_in_repo="notes.md", repo_id="me/page", repo_type="space"
        )
        before = len(api.list_repo_commits("me/page", repo_type="space"))
        monkeypatch.setattr(module, "build_wheel", small_wheel)
        deploy_space("me/page", **options(url))
        assert len(api.list_repo_commits("me/page", repo_type="space")) == before + 1
        files = files_of(url)
        assert {each for each in files if each.endswith(".whl")} == {WHEEL} and "notes.md" in files


def test_settings_are_made_by_name_and_a_secret_is_seen_nowhere(tmp_path, unbuilt, monkeypatch, capfd):
    monkeypatch.setenv("DEMO_KEY", "swordfish-1234")
    given = ["--secret", "DEMO_KEY", "--variable", "DEMO_MODE=a=b", "--hardware", "cpu-upgrade"]
    with serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="x")
        for name, value in (("ENDPOINT", url), ("DEFAULT_REVISION", "main")):
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", url)
        monkeypatch.setenv("HF_TOKEN", "hf_local")
        assert main(["deploy-space", "me/page", *given]) == 0
        assert main(["deploy-space", "me/page", *given, "--dry-run"]) == 0
        assert api.get_space_runtime("me/page").requested_hardware == "cpu-upgrade"
        assert set(api.get_space_secrets("me/page")) == {"DEMO_KEY"}
        assert {name: each.value for name, each in api.get_space_variables("me/page").items()} == {
            "DEMO_MODE": "a=b"
        }
    told = "".join(capfd.readouterr())
    assert f"{url}/spaces/me/page\n" in told and "secret DEMO_KEY, from the environment" in told
    assert "swordfish" not in told
    kept = [each for each in (tmp_path / "hub").rglob("*") if each.is_file()]
    assert not [each for each in kept if b"swordfish" in each.read_bytes()]
    hashed = hashlib.sha256(b"swordfish-1234").hexdigest()
    assert hashed in (tmp_path / "hub/space/me--page.json").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"secrets": ["NOT_THERE"]}, "there is no environment variable NOT_THERE to read the secret from"),
        ({"secrets": ["PATH"], "variables": {"PATH": "x"}}, "PATH is given as a secret and as a variable"),
        ({"secrets": ["KEY=swordfish"]}, "A secret is given by its name"),
        ({"variables": {"a-b": "x"}}, "the name of a variable may have letters, digits and underscores"),
        ({"hardware": "abacus"}, "'abacus' is no hardware of .* Choose from cpu-basic, cpu-upgrade"),
    ],
)
def test_what_cannot_be_set_is_one_line_and_nothing_is_made(tmp_path, unbuilt, given, message):
    with serve(tmp_path / "hub") as url:
        with pytest.raises(ValueError, match=message) as caught:
            deploy_space("me/page", **given, **options(url))
        assert not HfApi(endpoint=url, token="x").repo_exists("me/page", repo_type="space")
    assert "\n" not in str(caught.value) and "swordfish" not in str(caught.value)


def test_hardware_that_is_refused_is_told_with_what_was_deployed(tmp_path, unbuilt):
    def fail(request):
        refused = request.url.path.endswith("/page/hardware")
        return JSONResponse({"error": "needs a payment method"}, 402) if refused else None

    with serve(tmp_path / "hub", fail=fail) as url:
        with pytest.raises(ValueError, match=r"refused \(402: .*payment.* was deployed to .*/spaces/me/page"):
            deploy_space("me/page", hardware="t4-small", **options(url))
        assert "app.py" in files_of(url)


POINTS = {
    "information": lambda request: request.url.path == "/api/spaces/me/page",
    "variable": lambda request: request.url.path.endswith("/variables"),
    "secret": lambda request: request.url.path.endswith("/secrets"),
    "preupload": lambda request: "/preupload/" in request.url.path,
    "commit": lambda request: "/commit/" in request.url.path,
}


@pytest.mark.parametrize("point", POINTS)
def test_an_interrupted_deployment_leaves_the_old_version_and_a_retry_completes(tmp_path, monkeypatch, point):
    monkeypatch.setattr(module, "build_wheel", small_wheel)
    monkeypatch.setenv("DEMO_KEY", "x")
    broken = [False]

    def fail(request):
        return JSONResponse({"error": "out of order"}, 400) if broken[0] and POINTS[point](request) else None

    given = {"secrets": ["DEMO_KEY"], "variables": {"A": "b"}}
    with serve(tmp_path / "hub", fail=fail) as url:
        api = HfApi(endpoint=url, token="x")
        deploy_space("me/page", **given, **options(url))
        before = api.space_info("me/page").sha
        broken[0] = True
        monkeypatch.setattr(module, "build_wheel", lambda folder: small_wheel(folder, code="two"))
        with pytest.raises(ValueError, match="not changed") as caught:
            deploy_space("me/page", **given, **options(url))
        assert "\n" not in str(caught.value)
        broken[0] = False
        assert api.space_info("me/page").sha == before
        deploy_space("me/page", **given, **options(url))
        assert api.space_info("me/page").sha != before


def test_a_plan_lists_files_requirements_and_settings_and_sends_nothing(unbuilt, capfd):
    given = ["--secret", "PATH", "--variable", "MODE=x", "--hardware", "t4-small", "--private"]
    assert main(["deploy-space", "me/page", "--dry-run", *given]) == 0
    told = capfd.readouterr().out
    assert told.startswith("to the Space me/page:") and "mer_hf/__init__.py" in told and "in all" in told
    assert "requirements.txt:\nnumpy>=2\npandas\n" in told
    lines = [
        "private, where it is made",
        "variable MODE=x",
        "secret PATH, from the environment",
        "hardware t4-small",
    ]
    assert told.endswith("to be set:\n" + "\n".join(lines) + "\n")
    assert main(["deploy-space", "me/page", "--variable", "MODE"]) == 2
    assert capfd.readouterr().err == "mer-hf: error: expected --variable NAME=VALUE, got MODE\n"


HEAD = "---\ntitle: x\nsdk: gradio\nsdk_version: 6.31.0\napp_file: app.py\n---\n"


@pytest.mark.parametrize(
    ("readme", "message"),
    [
        ("---\na: [\n---\n", "cannot be read"),
        (HEAD.replace("sdk: gradio", "sdk: docker"), "has sdk 'docker'; expected gradio"),
        (HEAD.replace("app.py", "page.py"), "names app_file 'page.py', which is not there"),
        (HEAD.replace("6.31.0", "5.0.0"), r"has sdk_version 5.0.0; the package needs gradio<7,>=6.31"),
        ("no header", "has sdk None"),
    ],
)
def test_a_header_that_spaces_could_not_build_from_is_refused(monkeypatch, readme, message):
    monkeypatch.setattr(module, "build_wheel", lambda folder: small_wheel(folder, readme=readme))
    with pytest.raises(ValueError, match=message) as caught:
        deploy_space("me/page", dry_run=True)
    assert "\n" not in str(caught.value)


def test_the_package_is_named_by_one_line_of_the_requirements():
    text = "--extra-index-url https://example.org/simple\n# the package\nmer_hf[space] # ours\nscipy\n"
    expected = "--extra-index-url https://example.org/simple\n# the package\na\nb\nscipy\n"
    assert requirements(text, ["a", "b"]) == expected
    for wrong in ("scipy\n", "mer-hf\nmer-hf\n"):
        with pytest.raises(ValueError, match="must name mer-hf in one line"):
            requirements(wrong, ["a"])


def installed(folder, wheel):
    """What pip makes of a wheel: its files, with rows of its own in RECORD."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    info = folder / "mer_hf-0.1.0.dist-info"
    (info / "INSTALLER").write_text("pip\n")
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///x.whl", "archive_info": {}}))
    rows = [
        (info / "RECORD").read_text(),
        f"{info.name}/INSTALLER,sha256=zuuu,4",
        "../../bin/mer-hf,sha256=x,1",
    ]
    rows += [f"{info.name}/direct_url.json,sha256=x,1", "mer_hf/__pycache__/a.pyc,,"]
    (info / "RECORD").write_text("\n".join(row.strip() for row in rows) + "\n")
    return PathDistribution(info)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a checkout in which lie clips and pictures that must stay where they are."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("mer_hf", "space", "hub_cards"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    (checkout / "space/examples/x").mkdir(parents=True, exist_ok=True)
    for name in STRAY:
        (checkout / name).write_bytes(b"a face")
    (checkout / "space/link.py").symlink_to("/etc/hostname")
    try:
        return build_checkout(checkout, tmp_path_factory.mktemp("wheel"))
    except ValueError as error:
        if "hatchling" not in str(error) and "No module named pip" not in str(error):
            raise
        pytest.skip(f"no package index can be reached to build a wheel: {error}")


STRAY = ("space/clip.mp4", "space/examples/x/talk.md", "mer_hf/data/onset.png", "hub_cards/subject.avi")


def members(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_the_wheel_carries_page_and_cards_and_no_clip(wheel, tmp_path):
    names = set(members(wheel))
    tracked = subprocess.run(["git", "ls-files", "space"], cwd=ROOT, capture_output=True, text=True)
    page = {name.removeprefix("space/") for name in tracked.stdout.split()}
    assert {"app.py", "page/style.css", "page/motion.js", "page/explain.md"} <= page
    cards = {each.name for each in (ROOT / "hub_cards").iterdir()}
    assert {f"mer_hf/_data/space/{name}" for name in page} <= names
    assert {f"mer_hf/_data/hub_cards/{name}" for name in cards} <= names
    assert not names & {name.replace("space/", "mer_hf/_data/space/") for name in STRAY}
    assert not [name for name in names if name.endswith((".mp4", ".png", ".avi", ".pyc", "link.py"))]
    tracked = subprocess.run(["git", "ls-files", "mer_hf"], cwd=ROOT, capture_output=True, text=True)
    assert set(tracked.stdout.split()) <= names


@pytest.mark.slow
def test_a_wheel_packed_from_an_installation_is_the_one_that_was_installed(wheel, tmp_path):
    (tmp_path / "out").mkdir()
    distribution = installed(tmp_path / "site", wheel)
    again = pack_installed(distribution, tmp_path / "out")
    first, second = members(wheel), members(again)
    assert again.name == wheel.name and set(first) == set(second)
    assert sorted(first.pop(RECORD).split()) == sorted(second.pop(RECORD).split())
    assert first == second
    digest = hashlib.sha256(again.read_bytes()).hexdigest()
    assert hashlib.sha256(pack_installed(distribution, tmp_path).read_bytes()).hexdigest() == digest
    changed = tmp_path / "site/mer_hf/labels.py"
    changed.write_text("# mended in place\n")
    with pytest.raises(ValueError, match=r"labels\.py has changed since it was installed"):
        pack_installed(distribution, tmp_path / "out")
    changed.unlink()
    with pytest.raises(ValueError, match=r"labels\.py is missing from the installation"):
        pack_installed(distribution, tmp_path / "out")


def test_an_editable_installation_is_no_wheel(tmp_path):
    info = tmp_path / "mer_hf-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///x"}')
    with pytest.raises(ValueError, match="editable installation is no wheel"):
        pack_installed(PathDistribution(info), tmp_path)


def test_a_wheel_that_cannot_be_built_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ValueError, match="pip could not build the wheel: no message"):
        build_wheel(tmp_path)


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
def test_a_deployed_space_installs_starts_and_answers_also_deployed_from_there(
    wheel, spaces_python, tmp_path, monkeypatch
):
    clip = tmp_path / "clip.mp4"
    write_clip(clip, example_clip("surprise").clip.frames, 30)
    monkeypatch.setattr(module, "build_wheel", lambda folder: Path(shutil.copy(wheel, folder)))
    with serve(tmp_path / "hub") as url:
        deploy_space("me/page", **options(url))
        page = fetched(url, tmp_path / "page")
        print(install(spaces_python, page).splitlines()[-1])
        found = answer_of(spaces_python, page, clip)
        print(found)
        assert found == "micro_expression surprise\n"
        assert list((page / "examples").rglob("*.mp4"))

        # What pip installed there can deploy: public the same, and private with the package laid open.
        command = [spaces_python, "-m", "mer_hf", "deploy-space"]
        environment = {"HF_ENDPOINT": url, "HF_TOKEN": "hf_local", "HF_HUB_DISABLE_XET": "1"}
        environment["HF_HOME"] = str(tmp_path / "home")
        for given in (["me/again"], ["me/hidden", "--private"]):
            done = run([*command, *given], tmp_path, **environment)
            assert (done.returncode, done.stdout) == (0, f"{url}/spaces/{given[0]}\n"), done.stderr
        again = fetched(url, tmp_path / "again", repo_id="me/again")
        hidden = fetched(url, tmp_path / "hidden", token="x", repo_id="me/hidden")
    first, second = members(wheel), members(again / WHEEL)
    assert {name for name in first | second if first.get(name) != second.get(name)} <= {RECORD}
    assert "me/again/resolve" in (again / "requirements.txt").read_text()
    assert "mer-hf" not in (hidden / "requirements.txt").read_text() and not (hidden / WHEEL).exists()
    run([spaces_python, "-m", "pip", "uninstall", "--yes", "mer-hf"], tmp_path)
    assert "No module named mer_hf" in run([spaces_python, "-m", "mer_hf"], tmp_path).stderr
    print(install(spaces_python, hidden).splitlines()[-1])
    assert answer_of(spaces_python, hidden, clip) == found
