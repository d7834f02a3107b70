"""A visitor who wants too much: uploads that break off, many requests, checkpoints of all kinds."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

BOUNDARY = "XxXxX"


def multipart(*contents: bytes) -> tuple[bytes, str]:
    """Return the body of an upload of files, and its content type."""
    name = 'Content-Disposition: form-data; name="files"; filename="greedy.mp4"'
    head = f"--{BOUNDARY}\r\n{name}\r\n\r\n".encode()
    body = b"".join(head + content + b"\r\n" for content in contents)
    return body + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


@contextmanager
def break_off(url: str, size: int) -> Iterator[socket.socket]:
    """Send half of an upload; the connection is closed at the end of the block."""
    body, kind = multipart(b"x" * size * 2)
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:size])
        yield connection


def post(url: str, body: bytes, kind: str = "application/json", headers: dict | None = None) -> str:
    """Return what a server answers, also to what it refuses."""
    request = urllib.request.Request(url, body, {"Content-Type": kind, **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def ask(url: str, path: str, model: str) -> str:
    """Return how the page answers a call for an uploaded clip and a network."""
    clip = {"path": path, "meta": {"_type": "gradio.FileData"}}
    joined = json.loads(post(f"{url}/gradio_api/call/analyse", json.dumps({"data": [clip, model]}).encode()))
    if "event_id" not in joined:
        return joined["detail"]
    with urllib.request.urlopen(f"{url}/gradio_api/call/analyse/{joined['event_id']}", timeout=300) as answer:
        return answer.read().decode()


@contextmanager
def greedy(url: str, clip: bytes, models: list[str]) -> Iterator[dict[str, int]]:
    """Upload, break off and name checkpoints all the time, within the block; yield how often."""
    url, done, counts = url.rstrip("/"), threading.Event(), {"uploads": 0, "broken": 0, "named": 0}

    def upload() -> None:
        while not done.wait(0.2):
            (path,) = json.loads(post(f"{url}/gradio_api/upload", *multipart(clip)))
            counts["uploads"] += 1
            with break_off(url, 2_000_000):
                counts["broken"] += 1
            for model in models[counts["broken"] % len(models) :][:1]:
                ask(url, path, model)
                counts["named"] += 1

    thread = threading.Thread(target=upload)
    thread.start()
    try:
        yield counts
    finally:
        done.set()
        thread.join(300)
