"""What is refused at the door, over a real socket: broken uploads, many files, large and malformed calls."""

import json
import socket
import urllib.error
import urllib.request

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from page import door, files

from tests.space.greedy import break_off, multipart
from tests.space.test_files import names, parts, wait_until


@pytest.fixture(scope="module")
def address(url):
    return url.rstrip("/")


def post(url, data=b"", **headers) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} | headers
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def upload(address, count=1, path="/gradio_api/upload"):
    body, kind = multipart(*[b"x" * 100] * count)
    return post(address + path, body, **{"Content-Type": kind})


def test_an_upload_that_breaks_off_leaves_nothing(address):
    assert wait_until(lambda: not parts())
    held = len(files.LEDGER._entries)
    with break_off(address, 300_000):
        assert wait_until(parts)  # it is written as it comes
    assert wait_until(lambda: not parts())
    assert wait_until(lambda: len(files.LEDGER._entries) <= held)


def test_an_upload_that_takes_too_long_is_ended(address, monkeypatch):
    monkeypatch.setattr(door, "UPLOAD_S", 0.3)
    with break_off(address, 1000) as connection:
        assert b"took longer than" in connection.recv(10_000)
    assert wait_until(lambda: not parts())


def test_an_upload_holds_one_file(address, visitors_folder):
    before = names(visitors_folder).count("greedy.mp4")  # others may still be writing theirs
    assert upload(address)[0] == 200
    status, reason = upload(address, 900)
    assert status == 400 and "holds one file" in reason
    assert names(visitors_folder).count("greedy.mp4") == before + 1


def test_files_are_taken_at_one_path(address):
    for path in ("process_recording", "component_server", "queue/join"):
        assert upload(address, path=f"/gradio_api/{path}")[0] == 404


def test_one_visitor_and_all_together_have_a_limit(address, monkeypatch):
    for limit, whose in (("MOST_OF_ONE", "this address"), ("MOST_OF_ALL", "all visitors together")):
        with monkeypatch.context() as patch:
            patch.setattr(files, limit, (10**9, 0))
            status, reason = upload(address)
            assert status == 429 and whose in reason and "0 files" in reason
            patch.setattr(files, limit, (50, 1000))
            assert upload(address)[0] == 429
    monkeypatch.setattr(files, "LEAST_FREE_BYTES", 10**18)
    assert "disk of this page is full" in upload(address)[1]


def test_what_a_visitor_sent_is_forgotten_with_its_age(visitors_folder, monkeypatch):
    ledger = files.Ledger()
    monkeypatch.setattr(files, "MOST_OF_ONE", (10**9, 1))
    ledger.add("a", 10)
    ledger.add("b", 10)
    with pytest.raises(files.Refusal, match="1 files and 1000 MB"):
        ledger.add("a", 10)
    monkeypatch.setattr(files, "KEEP_S", 0)
    ledger.add("a", 10)


def test_large_requests_are_refused_before_they_are_read(address):
    host, port = address.removeprefix("http://").split(":")
    for path, kind, headers, status in (
        ("upload", "multipart/form-data; boundary=x", "Content-Length: 300000000", b"413"),
        ("upload", "multipart/form-data; boundary=x", "Transfer-Encoding: chunked", b"411"),
        ("call/analyse", "application/json", "Content-Length: 2000000", b"413"),
    ):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            head = f"POST /gradio_api/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{headers}\r\n\r\n"
            connection.sendall(head.encode())
            answer = connection.recv(10_000)
        assert answer.split()[1] == status and b"detail" in answer


@pytest.mark.parametrize(
    ("path", "call", "status", "words"),
    [
        ("call/nothing", {"data": []}, 404, "no such endpoint"),
        ("call/v2/nothing", {}, 404, "no such endpoint"),
        ("call/v2/analyse", {}, 400, "required argument: clip"),
        ("call/analyse", {"data": 1}, 422, "valid list"),
        ("queue/join", {"data": [], "fn_index": 9999, "session_hash": "a"}, 404, "no such endpoint"),
        ("run/nothing", {"data": []}, 404, "no such endpoint"),
        ("run/analyse", {"data": []}, 404, "join the queue"),  # nobody gets past the queue
    ],
)
def test_malformed_calls_are_told_why(address, path, call, status, words):
    answered, reason = post(f"{address}/gradio_api/{path}", json.dumps(call).encode())
    assert answered == status and words in json.dumps(json.loads(reason)["detail"])


@pytest.mark.parametrize(
    "path",
    ["monitoring", "monitoring/summary", "monitoring/x", "gradio_api/deep_link", "gradio_api/dev/reload"],
)
def test_what_the_page_does_not_need_is_closed(address, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{address}/{path}", timeout=20)
    assert caught.value.code in (403, 404)
