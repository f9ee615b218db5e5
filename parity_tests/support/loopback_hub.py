"""A server on this machine that answers as Hugging Face's hub does, and as a host of plain files.

What huggingface_hub 2.4.0 asks, and which headers it needs, was found out by running it: HEAD and GET of
/{repository}/resolve/{revision}/{file}, answered with X-Repo-Commit, ETag and, for large files, X-Linked-Etag.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self

LARGE = 1000
"""Bytes from which on the hub names a file by its SHA-256, and not by git's hash."""


@dataclass
class LoopbackHub:
    """The server, whose content the tests change.

    Attributes:
        repositories: For each repository its revisions, and for each revision its files.
        files: Files of plain addresses, by path.
        gated: Repositories whose terms must be accepted.
        damaged: Files that are sent with a changed byte, under the hash of the right content.
        cut: Files of which only the first half is sent.
        requests: What was asked, as "GET /path".
        sent: Bytes of content that were sent.
    """

    repositories: dict[str, Mapping[str, Mapping[str, bytes]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    sent: int = 0

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            state = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    state: LoopbackHub

    def log_message(self, *message: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        self.state.requests.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0].strip("/")
        if path in self.state.files:
            self._send(path, self.state.files[path], {}, with_content)
            return
        repository, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository in self.state.gated:
            self._refuse(401, "GatedRepo")
        elif repository not in self.state.repositories:
            self._refuse(404, "RepoNotFound")
        else:
            revisions = self.state.repositories[repository]
            commits = {hashlib.sha1(key.encode()).hexdigest(): key for key in revisions}
            revision = commits.get(revision, revision)
            commit = hashlib.sha1(revision.encode()).hexdigest()
            if revision not in revisions:
                self._refuse(404, "RevisionNotFound")
            elif name not in revisions[revision]:
                self._refuse(404, "EntryNotFound", commit)
            else:
                content = revisions[revision][name]
                large = len(content) >= LARGE
                etag = hashlib.sha256(content).hexdigest() if large else git_hash(content)
                headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
                if large:
                    headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
                self._send(name, content, headers, with_content)

    def _send(self, name: str, content: bytes, headers: Mapping[str, str], with_content: bool) -> None:
        if name in self.state.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(200)
        for key, text in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, text)
        self.end_headers()
        if with_content:
            part = content[: len(content) // 2] if name in self.state.cut else content
            self.state.sent += len(part)
            self.wfile.write(part)
            self.close_connection = True

    def _refuse(self, status: int, code: str, commit: str = "") -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()
