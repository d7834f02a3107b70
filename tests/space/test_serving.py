"""What the page serves and reads: what lies in Gradio's own cache, and nothing else."""

import http.server
import json
import re
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from tests.space.browser import APP

SECRET = "nobody may read this"


@pytest.fixture(scope="module")
def address(url):
    return url.rstrip("/")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_text(SECRET)
    return path


def fetch(url, data=None) -> tuple[int, str]:
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def call(address, clip) -> str:
    """What the endpoint tells of a clip that is named by hand, to the last event."""
    status, said = fetch(
        f"{address}/gradio_api/call/analyse", json.dumps({"data": [clip, "htnet-synthetic"]}).encode()
    )
    if status != 200:
        return said
    return fetch(f"{address}/gradio_api/call/analyse/{json.loads(said)['event_id']}")[1]


def file_data(path) -> dict:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("route", ["gradio_api/file=", "file=", "gradio_api/stream/", "static/", "assets/"])
@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "file:///etc/passwd",
        "{app}",
        "{secret}",
        "{cache}/../secret.mp4",
    ],
)
def test_no_file_outside_the_cache_is_served(address, secret, tmp_path, route, name):
    wanted = name.format(app=APP, secret=secret, cache=tmp_path / "gradio")
    status, said = fetch(f"{address}/{route}{wanted}")
    assert status >= 400, said[:200]
    assert "root:" not in said and SECRET not in said and "build_demo" not in said


@pytest.mark.parametrize("path", ["{secret}", "/etc/passwd", "file:///etc/passwd", "../../etc/passwd", "."])
def test_no_file_outside_the_cache_is_analysed(address, secret, path):
    said = call(address, file_data(path.format(secret=secret)))
    assert '"outcome"' not in said and SECRET not in said and "root:" not in said
    assert "Traceback" not in said and str(Path.cwd()) not in said and str(secret.parent) not in said


def test_what_lies_in_the_cache_is_served_and_analysed(address, example_file):
    """Otherwise the refusals above would say nothing."""
    from gradio_client import Client, handle_file

    _, config = fetch(f"{address}/config")
    (path,) = set(re.findall(r'"path": ?"([^"]*/still\.mp4)"', config))
    assert fetch(f"{address}/gradio_api/file={path}")[0] == 200
    assert '"outcome"' in call(address, file_data(path))
    answer = Client(address, verbose=False).predict(
        handle_file(example_file("still")), "htnet-synthetic", api_name="/analyse"
    )
    assert answer["outcome"] == "no_motion"


@contextmanager
def neighbour():
    """A server of this machine that counts who asks."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SECRET.encode())

        def log_message(self, *_):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/clip.mp4", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("field", ["path", "url"])
def test_the_page_asks_no_neighbour_on_anybodys_behalf(address, field):
    with neighbour() as (elsewhere, asked):
        said = call(address, file_data(elsewhere) | {field: elsewhere})
        assert SECRET not in said and '"outcome"' not in said
        assert not asked


def test_the_page_leaves_its_own_folder_alone():
    """Nothing of the page lies where Gradio would serve it: the cache is not inside the repository."""
    from gradio.utils import get_upload_folder

    assert APP.parent not in Path(get_upload_folder()).resolve().parents
