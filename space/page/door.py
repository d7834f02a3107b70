"""The page's door: what a request may bring, before Gradio reads it, and why it is refused.

Gradio limits the bytes of one file. It does not limit the files of a request, the bytes of a call or what
visitors have on the disk together, and it leaves the parts of an upload that breaks off.
"""

import asyncio
import json
import logging

from gradio.route_utils import FnIndexInferError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .files import LEDGER
from .uploads import LONG_VIDEO, Refusal, without_paths
from .visitors import address_of

log = logging.getLogger(__name__)

UPLOAD = "/gradio_api/upload"
"""The only path that takes files; others of Gradio's write them to folders of their own."""
CLOSED = ("/gradio_api/process_recording", "/gradio_api/deep_link", "/gradio_api/dev/reload")
"""Paths of Gradio that this page does not use; they write files or hold connections."""
MOST_CALL_BYTES = 1_000_000
MOST_UPLOAD_BYTES = LONG_VIDEO.size_bytes + 10_000
"""Of a request with one file; its parts have headers."""
UPLOAD_S = 600
"""Time in which an upload must be there."""
NOT_HERE = "This page has no such endpoint or function. GET /gradio_api/info lists them with their inputs."


class Door:
    """ASGI middleware between Gradio and the visitors."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer with a status and `{"detail": reason}`."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status = []

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
            await send(message)

        try:
            await self._pass(Request(scope), receive, answer, status)
        except (HTTPException, FnIndexInferError, KeyError, TypeError, ValueError) as error:
            if status:  # the answer is on its way
                raise
            refusal = _refusal_of(error, scope["path"])
            await JSONResponse({"detail": refusal.detail}, refusal.status_code)(scope, receive, send)

    async def _pass(self, request: Request, receive: Receive, send: Send, status: list[int]) -> None:
        path = request.url.path.rstrip("/")
        if path.endswith(CLOSED):  # a proxy may put something before it
            raise HTTPException(404, NOT_HERE)
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return await self.app(request.scope, receive, send)
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        has_files = kind == b"multipart/form-data"
        size = _check_size(request, MOST_UPLOAD_BYTES if has_files else MOST_CALL_BYTES)
        if not has_files:
            return await self.app(request.scope, receive, send)
        if not path.endswith(UPLOAD):
            raise HTTPException(404, f"Files are taken at {UPLOAD} only.")
        try:
            entry = LEDGER.add(address_of(request.client), size)
        except Refusal as refusal:
            raise HTTPException(429, str(refusal)) from refusal
        try:
            await self.app(request.scope, _watched(receive, options.get(b"boundary", b"")), send)
        finally:
            if status != [200]:  # nothing is left of it
                LEDGER.remove(entry)


def _check_size(request: Request, most: int) -> int:
    """Return how many bytes a request brings by its own account, which the server holds it to."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise HTTPException(411, "The request does not say its Content-Length.")
    if int(length) > most:
        raise HTTPException(413, f"The request has {length} bytes; the maximum allowed size is {most} bytes.")
    return int(length)


def _watched(receive: Receive, boundary: bytes) -> Receive:
    """Wrap the receiving of an upload: what breaks off, lasts or holds more than one file is refused.

    Gradio deletes what it has written so far when it meets a `MultiPartException`.
    """
    mark, tail, marks, more = b"--" + boundary, b"", 0, True
    deadline = asyncio.get_running_loop().time() + UPLOAD_S

    async def watched() -> Message:
        nonlocal tail, marks, more
        if not more:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise MultiPartException(f"The upload took longer than {UPLOAD_S} s.") from error
        if message["type"] == "http.disconnect":
            raise MultiPartException("The upload broke off.")
        body, more = tail + message.get("body", b""), message.get("more_body", False)
        marks, tail = marks + body.count(mark), body[1 - len(mark) :]
        if marks > 2:  # before and after one part
            raise MultiPartException("An upload holds one file. Send each file by itself.")
        return message

    return watched


def _refusal_of(error: Exception, path: str) -> HTTPException:
    """Return what to answer to a call that Gradio does not understand."""
    if isinstance(error, HTTPException):
        return error
    log.warning("%s: %s: %s", json.dumps(path), type(error).__name__, error)
    if isinstance(error, FnIndexInferError | KeyError):
        return HTTPException(404, NOT_HERE)
    return HTTPException(400, without_paths(f"The page does not take this call: {error}"))
