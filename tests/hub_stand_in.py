"""A small stand-in for the Hub that can fail on purpose; the real huggingface_hub client talks to it over loopback.

It implements what a download needs (HEAD and GET of `/ORG/NAME/resolve/REVISION/FILE`, with the Hub's headers, error
codes and byte ranges) and what a push needs (creating a repository, LFS uploads, one commit), and records the requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self
from urllib.parse import unquote

RESOLVE = re.compile(r"/(?P<repo>(?:datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/(?P<call>preupload|commit|xet-write-token)/main)?")
DATASET = re.compile(r"/api/(?P<repo>datasets/[^/]+/[^/]+)(/(?P<call>revision|tree)/(?P<revision>[^/?]+))?([?].*)?")
BATCH = re.compile(r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/(?P<call>batch)")
LFS = re.compile(r"/lfs/(?P<sha256>[0-9a-f]{64})")


@dataclass
class Repo:
    """A folder at one commit, and the failures of serving it."""

    folder: Path
    commit: str
    revisions: tuple[str, ...] = ("main",)
    refuse: tuple[int, str] | None = None  # status and X-Error-Code of every answer
    token: str | None = None  # the token that opens a refused repository
    corrupt_weights: int = 0  # how many times the first byte arrives wrong
    cut_weights: int = 0  # how many times the connection ends in the middle
    cut_at: int = 0  # bytes that arrive before the cut
    cut_by: Literal["close", "reset"] = "close"
    private: bool = False
    cut_commits: int = 0  # how many times the connection ends in the middle of a pushed commit


@dataclass
class Request:
    method: str
    repo: str
    revision: str
    file: str
    range: str | None
    token: str | None


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_at: int | None = None
    cut_by: Literal["close", "reset"] = "close"


@dataclass
class HubStandIn:
    """A context manager; set HF_ENDPOINT to its `endpoint`."""

    repos: dict[str, Repo] = field(default_factory=dict)  # those of datasets begin with datasets/
    requests: list[Request] = field(default_factory=list)
    written: Path = Path()  # where pushed files are written, one folder per commit
    writers: dict[str, str] = field(default_factory=dict)  # an organisation -> the token that may write to it
    uploaded: dict[str, bytes] = field(default_factory=dict)  # by sha256
    cut_uploads: int = 0  # how many times the connection ends in the middle of a pushed large file

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the port: from here on connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def asked(self, repo: str, method: str, file: str | None = None) -> list[Request]:
        """The requests about one repository, in order."""
        return [r for r in self.requests if r.repo == repo and r.method == method and file in {None, r.file}]

    def answer(self, request: Request) -> Answer:
        repo = self.repos.get(request.repo)
        if repo is None:
            return Answer(404, {"X-Error-Code": "RepoNotFound"})
        if repo.refuse and (repo.token is None or request.token != f"Bearer {repo.token}"):
            return Answer(repo.refuse[0], {"X-Error-Code": repo.refuse[1]} if repo.refuse[1] else {})
        if request.revision not in {repo.commit, *repo.revisions}:
            return Answer(404, {"X-Error-Code": "RevisionNotFound"})
        path = repo.folder / request.file
        if not path.is_file():
            return Answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
        return self._file(repo, path.read_bytes(), request)

    def _file(self, repo: Repo, content: bytes, request: Request) -> Answer:
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if request.file.endswith(".json"):  # kept in git
            headers["ETag"] = f'"{git_sha1(content)}"'
        else:  # kept by LFS
            sha256 = f'"{hashlib.sha256(content).hexdigest()}"'
            headers |= {"ETag": sha256, "X-Linked-Etag": sha256, "X-Linked-Size": str(len(content))}
        if request.method == "HEAD":
            return Answer(200, headers | {"Content-Length": str(len(content))})
        return self._spoilt(repo, _ranged(headers, content, request.range), request)

    def _spoilt(self, repo: Repo, answer: Answer, request: Request) -> Answer:
        if request.file.endswith(".json"):
            return answer
        if repo.corrupt_weights:
            repo.corrupt_weights -= 1
            answer.body = bytes([answer.body[0] ^ 1]) + answer.body[1:]
        if repo.cut_weights:
            repo.cut_weights -= 1
            answer.cut_at, answer.cut_by = repo.cut_at, repo.cut_by
        return answer

    def answer_api(self, path: str, body: bytes, token: str | None) -> Answer:
        """The answer to a call about a whole repository, or one that changes it."""
        if path == "/api/validate-yaml":
            return _json({})
        if path == "/api/repos/create":
            wanted = json.loads(body)
            return self._create(f"{wanted['organization']}/{wanted['name']}", wanted.get("visibility"), token)
        if upload := LFS.fullmatch(path):
            self.uploaded[upload["sha256"]] = body
            return Answer(200 if hashlib.sha256(body).hexdigest() == upload["sha256"] else 400)
        if dataset := DATASET.fullmatch(path):
            return self._dataset(dataset["repo"], unquote(dataset["revision"] or "main"), dataset["call"])
        match = API.fullmatch(path) or BATCH.fullmatch(path)
        repo = self.repos.get(match["repo"]) if match else None
        if match is None or repo is None:
            return Answer(404, {"X-Error-Code": "RepoNotFound"})
        if match["call"] is None:
            siblings = [{"rfilename": file} for file in sorted(_contents(repo.folder))]
            return _json({"id": match["repo"], "sha": repo.commit, "private": repo.private, "siblings": siblings})
        self.requests.append(Request("POST", match["repo"], "main", match["call"], None, token))
        return self._refused(match["repo"], token) or self._write(match["repo"], repo, match["call"], body)

    def _dataset(self, name: str, revision: str, call: str | None) -> Answer:
        repo = self.repos.get(name)
        if repo is None:
            return Answer(404, {"X-Error-Code": "RepoNotFound"})
        if repo.refuse:
            return Answer(repo.refuse[0], {"X-Error-Code": repo.refuse[1]})
        if revision not in {repo.commit, *repo.revisions}:
            return Answer(404, {"X-Error-Code": "RevisionNotFound"})
        files = _contents(repo.folder)
        if call == "tree":
            return _json([{"type": "file", "path": f, "size": len(files[f]), "oid": git_sha1(files[f])} for f in files])
        siblings = [{"rfilename": file} for file in sorted(files)]
        return _json({"id": name.removeprefix("datasets/"), "sha": repo.commit, "siblings": siblings})

    def _refused(self, repo: str, token: str | None) -> Answer | None:
        if token is None:
            return _json({"error": "Invalid username or password."}, 401)
        right = self.writers.get(repo.partition("/")[0])
        return None if token == f"Bearer {right}" else _json({"error": "You don't have the rights."}, 403)

    def _create(self, repo: str, visibility: str | None, token: str | None) -> Answer:
        if refused := self._refused(repo, token):
            return refused
        url = {"url": f"{self.endpoint}/{repo}"}
        if repo in self.repos:
            return _json(url | {"error": "You already created this model repo"}, 409)
        folder = self.written / repo / "empty"
        folder.mkdir(parents=True)
        self.repos[repo] = Repo(folder, git_sha1(repo.encode()), private=visibility == "private")
        return _json(url)

    def _write(self, name: str, repo: Repo, call: str, body: bytes) -> Answer:
        if call == "commit":
            return self._commit(name, repo, [json.loads(line) for line in body.splitlines()])
        if call == "preupload":
            modes = {f["path"]: "lfs" if ".safe" in f["path"] else "regular" for f in json.loads(body)["files"]}
            return _json({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
        if call == "batch":
            wanted = json.loads(body)["objects"]
            return _json(
                {"objects": [o | {"actions": {"upload": {"href": f"{self.endpoint}/lfs/{o['oid']}"}}} for o in wanted]}
            )
        return Answer(404)

    def _commit(self, name: str, repo: Repo, lines: list[dict[str, Any]]) -> Answer:
        files = _contents(repo.folder)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.uploaded[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repo.commit = git_sha1(repr(sorted(files.items())).encode())
        repo.folder = self.written / name / repo.commit
        for file, content in files.items():
            (repo.folder / file).parent.mkdir(parents=True, exist_ok=True)
            (repo.folder / file).write_bytes(content)
        return _json({"commitUrl": f"{self.endpoint}/{name}/commit/{repo.commit}", "commitOid": repo.commit})

    def cuts(self, path: str) -> bool:
        """Whether the connection ends in the middle of this body."""
        if LFS.fullmatch(path) and self.cut_uploads:
            self.cut_uploads -= 1
            return True
        match = API.fullmatch(path)
        repo = self.repos.get(match["repo"]) if match and match["call"] == "commit" else None
        if repo is None or not repo.cut_commits:
            return False
        repo.cut_commits -= 1
        return True


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _json(value: object, status: int = 200) -> Answer:
    body = json.dumps(value).encode()
    return Answer(status, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)


def git_sha1(content: bytes) -> str:
    """Git's object name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _ranged(headers: dict[str, str], content: bytes, wanted: str | None) -> Answer:
    match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
    if match is None:
        return Answer(200, headers | {"Content-Length": str(len(content))}, content)
    rest = content[int(match[1]) :]
    part = {"Content-Length": str(len(rest)), "Content-Range": f"bytes {match[1]}-{len(content) - 1}/{len(content)}"}
    return Answer(206, headers | part, rest)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Does nothing: clients that disconnect are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[HubStandIn]

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            self._send(self.hub.answer_api(self.path, b"", self.headers.get("Authorization")))
        else:
            self._serve()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if self.hub.cuts(self.path):
            self.rfile.read(length // 2)
            self._reset()
            return
        self._send(self.hub.answer_api(self.path, self.rfile.read(length), self.headers.get("Authorization")))

    def do_PUT(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Does nothing: the requests are recorded."""

    def _serve(self) -> None:
        match = RESOLVE.fullmatch(self.path)
        if match is None:
            self._send(Answer(404))
            return
        headers = self.headers.get("Range"), self.headers.get("Authorization")
        request = Request(self.command, match["repo"], match["revision"], match["file"], *headers)
        self.hub.requests.append(request)
        self._send(self.hub.answer(request))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in ({"Content-Length": "0"} | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut_at])
        if answer.cut_at is not None and answer.cut_by == "reset":
            self._reset()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
