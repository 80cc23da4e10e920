"""A real registry of the tests' own (`docker-registry`), and a proxy that makes trouble."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

USER, PASSWORD = "ada", "open sesame"
# `htpasswd -B`, with a fixed salt.
HTPASSWD = "ada:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n"
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Registry:
    """A running registry: its ``host:port``, and the directory of its files."""

    host: str
    root: Path

    def tags(self, repository: str) -> list[str]:
        """The tags that it has, as its storage says."""
        place = self.root / f"docker/registry/v2/repositories/{repository}/_manifests/tags"
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def need(*programs: str) -> None:
    """Skip, or fail in CI, unless the programs are there."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing and os.environ.get("CI"):
        pytest.fail(f"the tests need {', '.join(missing)}; .ci/run installs them")
    if missing:
        pytest.skip(f"needs {', '.join(missing)} on PATH")


@contextlib.contextmanager
def registry(
    place: Path, *, password: bool = False, tls: tuple[Path, Path] | None = None
) -> Iterator[Registry]:
    """Start one on a free port; ``tls`` are certificate and key."""
    need("docker-registry")
    place.mkdir(parents=True, exist_ok=True)
    host = f"localhost:{_free_port()}"
    lines = [
        "version: 0.1",
        "log: {level: warn, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: {place}/data}}}}",
        f"http: {{addr: '{host}'"
        + (f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}}}" if tls else "}"),
    ]
    if password:
        (place / "htpasswd").write_text(HTPASSWD)
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {place}/htpasswd}}}}")
    (place / "config.yml").write_text("\n".join(lines) + "\n")
    with open(place / "log", "wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(place / "config.yml")], stdout=log, stderr=log
        )
    try:
        _wait(host, process, place / "log")
        yield Registry(host, place / "data")
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    name, _, port = host.partition(":")
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection((name, int(port)), 1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"docker-registry does not start: {log.read_text()[-500:]}")


def authority(place: Path, name: str = "localhost") -> tuple[Path, Path, Path]:
    """A test authority's certificate, and a certificate and key for a host that it signed."""
    need("openssl")
    place.mkdir(parents=True, exist_ok=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

    subject = ("-subj", "/CN=an authority of tests")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", *subject)
    openssl("req", *key, "-keyout", "host.key", "-out", "host.csr", "-subj", f"/CN={name}")
    (place / "names").write_text(f"subjectAltName=DNS:{name}\n")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", "host.csr", *signed, "-extfile", "names", "-out", "host.crt")
    return place / "ca.crt", place / "host.crt", place / "host.key"


@dataclass
class Fault:
    """Trouble with the next ``times`` requests of a ``method`` whose path matches ``path``.

    ``status`` is answered instead of asking the registry, with ``headers``; ``cut`` ends the
    connection after so many bytes of the request's or the answer's body; ``spoil`` changes a byte
    of the answer; ``redirect`` sends the client elsewhere; ``slow`` waits for so many seconds
    after each piece of the body.
    """

    method: str
    path: str
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    spoil: bool = False
    slow: float = 0.0
    body: bytes = b""


@dataclass(frozen=True)
class Seen:
    """A request that came to the proxy; ``length`` is that of its body."""

    method: str
    path: str
    headers: dict[str, str]
    length: int
    body: bytes = b""


class Proxy:
    """Before a registry: hands on all but the ``faults``, and remembers what was ``seen``."""

    def __init__(self, upstream: str) -> None:
        self.faults: list[Fault] = []
        #: If set, only who has a token of these is let in; `/token` gives another each time.
        self.tokens: list[str] = []
        self.lets_in: Callable[[Seen], bool] = lambda seen: True
        self.seen: list[Seen] = []
        self._upstream = upstream
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy.handle(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"localhost:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def requests(self, method: str, path: str = "") -> list[Seen]:
        """Those of a method whose path has this in it."""
        return [found for found in self.seen if found.method == method and path in found.path]

    def _fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        method = request.command
        length = int(request.headers.get("Content-Length") or 0)
        body = b""
        if request.path.startswith("/token"):
            body, length = request.rfile.read(length), 0
        with self._lock:
            self.seen.append(Seen(method, request.path, dict(request.headers), length, body))
            seen = self.seen[-1]
        fault = self._fault(method, request.path) or self._door(request, seen) or Fault("", "")
        if fault.status:
            # What comes is read, so that the client sees the answer.
            self._drain(request, length)
            request.send_response(fault.status)
            for name, text in {**fault.headers, "Content-Length": str(len(fault.body))}.items():
                request.send_header(name, text)
            request.end_headers()
            request.wfile.write(fault.body)
            return
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            self._hand_on(request, connection, length, fault)
        except OSError:
            request.close_connection = True
        finally:
            connection.close()

    def _door(self, request: BaseHTTPRequestHandler, seen: Seen) -> Fault | None:
        """The token server, and the registry's refusal of who has no token."""
        if not self.tokens:
            return None
        if request.path.startswith("/token"):
            if not self.lets_in(seen):
                return Fault("", "", status=401)
            self.tokens.append(f"{self.tokens[0]}-{len(self.tokens)}")
            return Fault("", "", status=200, body=b'{"token": "%s"}' % self.tokens[-1].encode())
        if seen.headers.get("Authorization", "").removeprefix("Bearer ") in self.tokens:
            return None
        challenge = f'Bearer realm="http://{self.host}/token",service="tests",scope="x"'
        return Fault("", "", status=401, headers={"WWW-Authenticate": challenge})

    def _drain(self, request: BaseHTTPRequestHandler, left: int) -> None:
        while left and (data := request.rfile.read(min(left, _CHUNK))):
            left -= len(data)

    def _hand_on(
        self,
        request: BaseHTTPRequestHandler,
        connection: http.client.HTTPConnection,
        length: int,
        fault: Fault,
    ) -> None:
        connection.putrequest(request.command, request.path, True, True)
        for name, text in request.headers.items():
            connection.putheader(name, text)
        connection.endheaders()
        upload = length > 0
        if not _copy(
            request.rfile.read, connection.send, length, fault if upload else Fault("", "")
        ):
            self._end(request)
            return
        answer = connection.getresponse()
        request.send_response_only(answer.status)
        for name, text in answer.getheaders():
            request.send_header(name, text)
        request.end_headers()
        if request.command == "HEAD":
            return
        size = int(answer.getheader("Content-Length") or 0)
        if not _copy(answer.read, request.wfile.write, size, Fault("", "") if upload else fault):
            self._end(request)

    def _end(self, request: BaseHTTPRequestHandler) -> None:
        """End the connection as a machine that loses its power does not: at once."""
        with contextlib.suppress(OSError):
            request.wfile.flush()
            request.connection.shutdown(socket.SHUT_RDWR)
        request.close_connection = True


def _copy(
    read: Callable[[int], bytes], write: Callable[[bytes], object], left: int, fault: Fault
) -> bool:
    """Whether all came through."""
    done = 0
    while left:
        data = read(min(left, _CHUNK))
        if not data:
            return False
        left -= len(data)
        if fault.spoil and not done:
            data = bytes([data[0] ^ 1]) + data[1:]
        if fault.cut is not None and done + len(data) > fault.cut:
            write(data[: fault.cut - done])
            return False
        write(data)
        done += len(data)
        if fault.slow:
            time.sleep(fault.slow)
    return True
