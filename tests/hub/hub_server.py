"""A small Hugging Face Hub on loopback: `push` and `from_pretrained` against a real client and real HTTP.

    with serve(folder) as url: ...

Storage is a folder; any token is accepted. A client reads its environment once, at import: in a process of
its own set HF_ENDPOINT=url, HF_HUB_DISABLE_XET=1, HF_TOKEN to anything and HF_HOME to an empty folder.
`serve(folder, fail=...)` lets a test break chosen requests.

Covers whoami; repositories (model, dataset, space) made; lists of models by author and tags, in pages of
two; tags; preupload; LFS batch and PUT, with hashes checked; commits (files, LFS files, deleted files; the
card's YAML is parsed); information, tree, refs; resolve with HTTP ranges; of a Space the runtime, hardware,
variables and secrets (kept as hashes, never given out). Permissions: only that a private repository's files
need a token. Not covered: xet, moves, pull requests.
"""

import base64
import contextlib
import fnmatch
import hashlib
import json
import pathlib
import re
import threading
import time
from typing import Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse

LFS_GLOBS = [
    "*.safetensors",
    "*.bin",
    "*.pt",
    "*.npz",
    "*.npy",
    "*.parquet",
    "*.mp4",
    "*.avi",
    "*.zip",
    "*.tar.gz",
    "*.task",
]


def NOW():
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


HARDWARE = ["cpu-basic", "cpu-upgrade", "t4-small"]
PAGE = 2  # the real one gives 1000 at a time
KIND = {"models": "model", "datasets": "dataset", "spaces": "space"}


def front_matter(text):
    m = re.match(r"^---\r?\n(.*?)\r?\n---(\r?\n|$)", text, re.S)
    if not m:
        return {}
    import yaml

    return yaml.safe_load(m.group(1)) or {}


class Store:
    def __init__(self, root):
        self.root, self.lock = pathlib.Path(root), threading.RLock()
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)

    def path(self, kind, rid):
        return self.root / kind / (rid.replace("/", "--") + ".json")

    def load(self, kind, rid):
        p = self.path(kind, rid)
        return json.loads(p.read_text()) if p.is_file() else None

    def save(self, repo):
        p = self.path(repo["kind"], repo["id"])
        p.parent.mkdir(parents=True, exist_ok=True)
        t = p.with_suffix(".tmp")
        t.write_text(json.dumps(repo))
        t.replace(p)

    def blob(self, sha256):
        return self.root / "blobs" / sha256

    def put(self, data):
        h = hashlib.sha256(data).hexdigest()
        self.blob(h).write_bytes(data)
        return h

    def commit(self, repo, branch, files, title):
        parent = repo["refs"].get(branch)
        oid = hashlib.sha1(
            json.dumps([parent, files, title, time.time_ns()], sort_keys=True).encode()
        ).hexdigest()
        repo["commits"][oid] = {"files": files, "title": title, "date": NOW(), "parent": parent}
        repo["refs"][branch] = oid
        self.save(repo)
        return oid


def make_app(root, fail=None):
    app, S = FastAPI(), Store(root)

    def err(code, kind, msg):
        return JSONResponse({"error": msg}, code, headers={"X-Error-Code": kind, "X-Error-Message": msg})

    def no_repo():
        return err(404, "RepoNotFound", "Repository not found")

    def find(types, rid, rev="main"):
        repo = S.load(KIND.get(types, types), rid)
        if repo is None:
            return None, None, no_repo()
        oid = (
            repo["refs"].get(rev)
            or repo["tags"].get(rev)
            or next((c for c in repo["commits"] if c == rev or (len(rev) >= 7 and c.startswith(rev))), None)
        )
        return repo, oid, None if oid else err(404, "RevisionNotFound", f"Invalid rev id: {rev}")

    def entry(p, f):
        e = {"type": "file", "path": p, "oid": f["oid"], "size": f["size"]}
        if f["lfs"]:
            e["lfs"] = {"oid": f["sha256"], "size": f["size"], "sha256": f["sha256"], "pointerSize": 134}
        return e

    @app.middleware("http")
    async def answer(request: Request, call_next):
        broken = fail(request) if fail else None
        return broken or await call_next(request)

    @app.get("/api/whoami-v2")
    def whoami():
        return {
            "type": "user",
            "id": "0",
            "name": "local",
            "fullname": "Local User",
            "orgs": [],
            "isPro": False,
            "auth": {"type": "access_token", "accessToken": {"displayName": "local", "role": "write"}},
        }

    @app.post("/api/repos/create")
    async def create(request: Request):
        b = await request.json()
        kind = b.get("type") or "model"
        rid = f"{b.get('organization') or 'local'}/{b['name']}"
        url = f"{request.base_url}{'' if kind == 'model' else kind + 's/'}{rid}"
        with S.lock:
            if S.load(kind, rid):
                return JSONResponse({"error": "You already created this repo", "url": url}, 409)
            repo = {
                "id": rid,
                "kind": kind,
                "private": bool(b.get("private") or b.get("visibility") == "private"),
                "refs": {},
                "tags": {},
                "commits": {},
                "sdk": b.get("sdk"),
            }
            data = "".join(f"{g} filter=lfs diff=lfs merge=lfs -text\n" for g in LFS_GLOBS).encode()
            S.commit(
                repo,
                "main",
                {
                    ".gitattributes": {
                        "sha256": S.put(data),
                        "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                        "size": len(data),
                        "lfs": False,
                    }
                },
                "initial commit",
            )
        return {"url": url, "id": rid, "name": rid}

    @app.post("/api/validate-yaml")
    async def validate_yaml(request: Request):
        try:
            front_matter((await request.json())["content"])
            return {"errors": [], "warnings": []}
        except Exception as e:
            return JSONResponse({"errors": [{"message": str(e)}], "warnings": []}, 400)

    @app.get("/api/{types}/{ns}/{name}")
    @app.get("/api/{types}/{ns}/{name}/revision/{rev:path}")
    def info(types: str, ns: str, name: str, rev: str = "main"):
        repo, oid, e = find(types, f"{ns}/{name}", rev)
        return e or describe(repo, oid)

    @app.get("/api/models")
    def list_models(request: Request, author: str = "", limit: int = 1000, after: int = 0):
        wanted = set(request.query_params.getlist("filter"))
        found = []
        for p in sorted((S.root / "model").glob("*.json")):
            repo = json.loads(p.read_text())
            if author in ("", repo["id"].split("/")[0]) and repo["refs"].get("main"):
                d = describe(repo, repo["refs"]["main"])
                if wanted <= set(d["tags"]) and (not d["private"] or "authorization" in request.headers):
                    found.append(d)
        upto = after + min(limit, PAGE)
        link = request.url.include_query_params(after=upto)
        return JSONResponse(
            found[after:upto], headers={"Link": f'<{link}>; rel="next"'} if upto < len(found) else {}
        )

    def describe(repo, oid):
        ns, c = repo["id"].split("/")[0], repo["commits"][oid]
        card, config = {}, {}
        if "README.md" in c["files"]:
            with contextlib.suppress(Exception):
                card = front_matter(S.blob(c["files"]["README.md"]["sha256"]).read_text())
        if "config.json" in c["files"]:
            with contextlib.suppress(ValueError):
                config = json.loads(S.blob(c["files"]["config.json"]["sha256"]).read_text())
        return {
            "_id": repo["id"],
            "id": repo["id"],
            "modelId": repo["id"],
            "author": ns,
            "sha": oid,
            "lastModified": c["date"],
            "createdAt": c["date"],
            "private": repo["private"],
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [*(card.get("tags") or []), *([config["model_type"]] if "model_type" in config else [])],
            "config": {k: config[k] for k in ("architectures", "model_type", "auto_map") if k in config},
            "sdk": repo["sdk"],
            "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"),
            "cardData": card,
            "usedStorage": sum(f["size"] for f in c["files"].values()),
            "siblings": [
                {
                    "rfilename": p,
                    "size": f["size"],
                    "blobId": f["oid"],
                    **({"lfs": entry(p, f)["lfs"]} if f["lfs"] else {}),
                }
                for p, f in sorted(c["files"].items())
            ],
        }

    @app.get("/api/{types}/{ns}/{name}/refs")
    def refs(types: str, ns: str, name: str):
        repo, _, e = find(types, f"{ns}/{name}")
        if e and not repo:
            return e

        def f(d, k):
            return [{"name": n, "ref": f"refs/{k}/{n}", "targetCommit": o} for n, o in d.items()]

        return {
            "branches": f(repo["refs"], "heads"),
            "tags": f(repo["tags"], "tags"),
            "converts": [],
            "pullRequests": [],
        }

    @app.post("/api/{types}/{ns}/{name}/tag/{ref:path}")
    async def new_tag(request: Request, types: str, ns: str, name: str, ref: str):
        tag = (await request.json())["tag"]
        repo, oid, e = find(types, f"{ns}/{name}", ref)
        if e:
            return e
        if tag in repo["tags"]:
            return err(409, "Conflict", "Reference already exists")
        repo["tags"][tag] = oid
        S.save(repo)
        return {}

    @app.get("/api/{types}/{ns}/{name}/commits/{rev:path}")
    def commits(types: str, ns: str, name: str, rev: str):
        repo, oid, e = find(types, f"{ns}/{name}", rev)
        out = []
        if e:
            return e
        while oid:
            c = repo["commits"][oid]
            out.append(
                {
                    "id": oid,
                    "title": c["title"],
                    "message": "",
                    "date": c["date"],
                    "authors": [{"user": "local"}],
                }
            )
            oid = c["parent"]
        return out

    @app.get("/api/{types}/{ns}/{name}/tree/{rev}")
    @app.get("/api/{types}/{ns}/{name}/tree/{rev}/{sub:path}")
    def tree(types: str, ns: str, name: str, rev: str, sub: str = "", recursive: bool = False):
        repo, oid, e = find(types, f"{ns}/{name}", rev)
        if e:
            return e
        pre, out, seen = (sub.strip("/") + "/") if sub.strip("/") else "", [], set()
        for p, f in sorted(repo["commits"][oid]["files"].items()):
            if not p.startswith(pre):
                continue
            rel = p[len(pre) :].split("/")
            for i in range(1, len(rel) if recursive else min(2, len(rel))):
                d = pre + "/".join(rel[:i])
                if d not in seen:
                    seen.add(d)
                    out.append(
                        {
                            "type": "directory",
                            "path": d,
                            "oid": hashlib.sha1(d.encode()).hexdigest(),
                            "size": 0,
                        }
                    )
            if recursive or len(rel) == 1:
                out.append(entry(p, f))
        return out if out or not pre else err(404, "EntryNotFound", "Entry not found")

    @app.post("/api/{types}/{ns}/{name}/preupload/{rev:path}")
    async def preupload(request: Request, types: str, ns: str, name: str, rev: str):
        repo, oid, e = find(types, f"{ns}/{name}", rev)
        b = await request.json()
        if e:
            return e
        have = repo["commits"][oid]["files"]

        def lfs(f):
            return f["size"] > 10_000_000 or any(
                fnmatch.fnmatch(f["path"].split("/")[-1], g) for g in LFS_GLOBS
            )

        return {
            "files": [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if lfs(f) else "regular",
                    "shouldIgnore": False,
                    "oid": have.get(f["path"], {}).get("oid"),
                }
                for f in b["files"]
            ]
        }

    @app.post("/{ns}/{name}.git/info/lfs/objects/batch")
    @app.post("/{types}/{ns}/{name}.git/info/lfs/objects/batch")
    async def lfs_batch(request: Request, ns: str, name: str, types: str = "models"):
        b = await request.json()

        def act(o):
            return {"upload": {"href": f"{request.base_url}_lfs/{o}", "header": {}}}

        return {
            "transfer": "basic",
            "objects": [
                {
                    "oid": o["oid"],
                    "size": o["size"],
                    **({} if S.blob(o["oid"]).is_file() else {"actions": act(o["oid"])}),
                }
                for o in b["objects"]
            ],
        }

    @app.put("/_lfs/{oid}")
    async def lfs_put(request: Request, oid: str):
        tmp, h = S.blob(f"{oid}.{time.time_ns()}.part"), hashlib.sha256()
        with tmp.open("wb") as f:
            async for chunk in request.stream():
                f.write(chunk)
                h.update(chunk)
        if h.hexdigest() != oid:
            tmp.unlink()
            return err(400, "BadSha", f"sha256 mismatch: {h.hexdigest()} != {oid}")
        tmp.replace(S.blob(oid))
        return Response(headers={"ETag": f'"{oid}"'})

    @app.post("/api/{types}/{ns}/{name}/commit/{rev:path}")
    async def commit(request: Request, types: str, ns: str, name: str, rev: str):
        lines = [json.loads(text) for text in (await request.body()).splitlines() if text.strip()]
        with S.lock:
            repo, oid, e = find(types, f"{ns}/{name}", rev)
            if e:
                return e
            files, title, parent = dict(repo["commits"][oid]["files"]), "commit", None
            for line in lines:
                v = line["value"]
                if line["key"] == "header":
                    title, parent = v["summary"], v.get("parentCommit")
                elif line["key"] == "file":
                    data = (
                        base64.b64decode(v["content"])
                        if v.get("encoding") == "base64"
                        else v["content"].encode()
                    )
                    if v["path"] == "README.md" and types in ("models", "spaces"):
                        try:
                            front_matter(data.decode())
                        except Exception as x:
                            return err(400, "BadYaml", f"Invalid metadata in README.md: {x}")
                    files[v["path"]] = {
                        "sha256": S.put(data),
                        "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                        "size": len(data),
                        "lfs": False,
                    }
                elif line["key"] == "lfsFile":
                    if not S.blob(v["oid"]).is_file():
                        return err(400, "MissingLfs", f"LFS object {v['oid']} was not uploaded")
                    files[v["path"]] = {
                        "sha256": v["oid"],
                        "oid": v["oid"][:40],
                        "size": S.blob(v["oid"]).stat().st_size,
                        "lfs": True,
                    }
                elif line["key"] == "deletedFile":
                    files.pop(v["path"], None)
                else:
                    return err(400, "Unsupported", f"operation {line['key']} is not supported here")
            if parent and parent != oid:
                return err(412, "PreconditionFailed", "A commit has happened since")
            new = S.commit(repo, rev if rev in repo["refs"] else "main", files, title)
        kind = "" if types == "models" else f"{types}/"
        return {
            "success": True,
            "commitOid": new,
            "commitUrl": f"{request.base_url}{kind}{ns}/{name}/commit/{new}",
            "hookOutput": "",
        }

    def resolve(request: Request, ns: str, name: str, rev: str, path: str, types: str = "models"):
        repo, oid, e = find(types, f"{ns}/{name}", rev)
        if e:
            return e
        if repo["private"] and not request.headers.get("authorization"):
            return err(401, "RepoNotFound", "Invalid username or password.")
        f = repo["commits"][oid]["files"].get(path)
        if f is None:
            r = err(404, "EntryNotFound", "Entry not found")
            r.headers["X-Repo-Commit"] = oid
            return r
        tag = f["sha256"] if f["lfs"] else f["oid"]
        h = {
            "X-Repo-Commit": oid,
            "ETag": f'"{tag}"',
            "X-Linked-Etag": f'"{tag}"',
            "X-Linked-Size": str(f["size"]),
        }
        return FileResponse(S.blob(f["sha256"]), headers=h, media_type="application/octet-stream")

    for route in ("/{ns}/{name}/resolve/{rev}/{path:path}", "/{types}/{ns}/{name}/resolve/{rev}/{path:path}"):
        app.add_api_route(route, resolve, methods=["GET", "HEAD"])

    @app.get("/api/spaces/{ns}/{name}/runtime")
    def runtime(ns: str, name: str):
        repo, _, e = find("spaces", f"{ns}/{name}")
        flavor = None if e else repo.get("hardware", "cpu-basic")
        return e or {"stage": "RUNNING", "hardware": {"current": flavor, "requested": flavor}}

    @app.post("/api/spaces/{ns}/{name}/hardware")
    async def hardware(request: Request, ns: str, name: str):
        flavor = (await request.json())["flavor"]
        with S.lock:
            repo, _, e = find("spaces", f"{ns}/{name}")
            if e:
                return e
            if flavor not in HARDWARE:
                return err(400, "BadRequest", f"Invalid flavor: {flavor}")
            repo["hardware"] = flavor
            S.save(repo)
        return runtime(ns, name)

    @app.get("/api/spaces/{ns}/{name}/{kind}")
    def settings(ns: str, name: str, kind: Literal["secrets", "variables"]):
        repo, _, e = find("spaces", f"{ns}/{name}")
        if e:
            return e
        shown = ("key", "value", "updatedAt") if kind == "variables" else ("key", "updatedAt")
        kept = repo.get(kind, {})
        return {key: {part: each[part] for part in shown} for key, each in kept.items()}

    @app.post("/api/spaces/{ns}/{name}/{kind}")
    async def set_setting(request: Request, ns: str, name: str, kind: Literal["secrets", "variables"]):
        b = await request.json()
        hidden = hashlib.sha256(b["value"].encode()).hexdigest()
        with S.lock:
            repo, _, e = find("spaces", f"{ns}/{name}")
            if e:
                return e
            value = b["value"] if kind == "variables" else hidden
            repo.setdefault(kind, {})[b["key"]] = {"key": b["key"], "value": value, "updatedAt": NOW()}
            S.save(repo)
        return settings(ns, name, kind)

    def fallback(request: Request, rest: str):
        return err(404, "UnknownEndpoint", f"local_hub does not serve {request.method} /{rest}")

    app.add_api_route("/{rest:path}", fallback, methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
    return app


@contextlib.contextmanager
def serve(root, port=0, fail=None):
    """Run the hub in a thread; yields its URL."""
    import socket

    import uvicorn

    s = socket.socket()
    s.bind(("127.0.0.1", port))
    url = f"http://127.0.0.1:{s.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(make_app(root, fail), log_level="warning"))
    t = threading.Thread(target=server.run, kwargs={"sockets": [s]}, daemon=True)
    t.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield url
    finally:
        server.should_exit = True
        t.join(5)
