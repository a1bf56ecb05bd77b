"""The web site that sources are downloaded from; a test defines its answers."""

import hashlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

from idrl_testing.http_servers import HttpServer, serving

NO_HEADERS: Mapping[str, str] = {}
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Page:
    """One address of the site, and how it answers."""

    body: bytes
    answer: Callable[["Request"], None]
    content_type: str = "video/mp4"


@dataclass
class Site:
    """The running server, at `url`; serves what is in `folder` at the time, by file name."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    folder: Path | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def add(
        self, name: str, body: bytes = b"", answer: "Callable[[Request], None] | None" = None
    ) -> str:
        """Serve `body` under `name` from now on and return its URL."""
        self.pages[f"/{name}"] = Page(body, answer or whole)
        return f"{self.url}/{name}"

    def find(self, path: str) -> Page | None:
        """Return the page at a path: one that was added, else a file of the folder."""
        if page := self.pages.get(path):
            return page
        name = Path(unquote(path.partition("?")[0])).name
        file = self.folder / name if self.folder else None
        return Page(file.read_bytes(), whole) if file and file.is_file() else None


class Request(BaseHTTPRequestHandler):
    """One request of the system under test."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    site: Site
    page: Page
    count: int

    def do_GET(self) -> None:
        page = self.site.find(self.path)
        if page is None:
            self.send(404)
            return
        self.page = page
        self.site.hits[self.path] += 1
        self.count = self.site.hits[self.path]
        page.answer(self)

    def do_DELETE(self) -> None:
        self.do_GET()

    def send(
        self,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        length_bytes: int | None = None,
    ) -> None:
        """Send an answer; `length_bytes` is what it claims to be long."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length_bytes is None else length_bytes))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the library's name
        """Log no request: `hits` counts them."""


def whole(request: Request) -> None:
    """Answer as a good server does: with the file, or with the range that was requested."""
    body = request.page.body
    headers = _headers(request.page)
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if not match:
        request.send(200, body, headers)
        return
    start, end = int(match[1]), min(int(match[2] or len(body) - 1), len(body) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
    request.send(206, body[start : end + 1], headers)


def fails(status: int) -> Callable[[Request], None]:
    """Answer with nothing but this status."""
    return lambda request: request.send(status)


def fails_once(request: Request) -> None:
    """Answer 500 to the first request."""
    if request.count == 1:
        request.send(500)
    else:
        whole(request)


def breaks_off_once(request: Request) -> None:
    """Close the connection of the first request in the middle of the body."""
    if request.count > 1:
        whole(request)
        return
    _send_half(request)
    request.close_connection = True


def stalls_midway(request: Request) -> None:
    """Send half of the body, then nothing, until the caller goes away or the site stops."""
    _send_half(request)
    request.connection.settimeout(0.2)
    while not request.site.stopping.is_set():
        try:
            if not request.connection.recv(1):
                break
        except TimeoutError:
            continue
    request.close_connection = True


def redirects(target: str) -> Callable[[Request], None]:
    """Answer 302 to `target`."""
    return lambda request: request.send(302, headers={"Location": target})


def _send_half(request: Request) -> None:
    body = request.page.body
    request.send(200, body[: len(body) // 2], _headers(request.page), length_bytes=len(body))


def _headers(page: Page) -> dict[str, str]:
    etag = f'"{hashlib.sha256(page.body).hexdigest()}"'
    return {"Content-Type": page.content_type, "ETag": etag, "Accept-Ranges": "bytes"}


@contextmanager
def serve(host: str = "127.0.0.1", port: int = 0, folder: Path | None = None) -> Iterator[Site]:
    """Run the site on an address of this machine the system can reach; port 0 is a free one."""
    server = HttpServer((host, port), Request)
    family = f"[{host}]" if server.address_family == socket.AF_INET6 else host
    site = Site(f"http://{family}:{server.server_address[1]}", folder=folder)
    server.RequestHandlerClass = type("SiteRequest", (Request,), {"site": site})
    with serving(server):
        try:
            yield site
        finally:
            site.stopping.set()
