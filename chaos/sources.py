"""The videos that callers submit, and what must become of each.

Every frame of a good source has its number drawn into it, so that a clip shows which frames it has.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from idrl_testing import numbered
from idrl_testing.samples import FAST, encode, tone
from idrl_testing.site import Request, Site, fails, serve, whole

RATE = 25
PART_S = 4
_WIDTH, _HEIGHT = 320, 180
_SLOW_CHUNKS = 40
_SLOW_CHUNK_S = 0.1
Answer = Callable[[Request], None]


@dataclass(frozen=True)
class Source:
    """A URL, and its outcome: the number of parts, or the code with which the task fails.

    `body` is what is there, for callers that upload the file instead.
    """

    name: str
    url: str
    body: bytes = field(repr=False)
    parts: int = 0
    code: str | None = None

    @property
    def is_good(self) -> bool:
        return self.code is None


@dataclass
class Sources:
    """The web site that the sources are on; `unavailable` makes it answer 503 to every request.

    `pictures` are PNG files for brands.
    """

    site: Site
    unavailable: threading.Event = field(default_factory=threading.Event)
    all: list[Source] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)

    def add(
        self,
        name: str,
        body: bytes = b"",
        answer: Answer = whole,
        *,
        parts: int = 0,
        code: str | None = None,
    ) -> None:
        """Serve a source that becomes this many parts, or fails with the code."""

        def answer_unless_unavailable(request: Request) -> None:
            if self.unavailable.is_set():
                request.send(503)
            else:
                answer(request)

        url = self.site.add(name, body, answer_unless_unavailable)
        self.all.append(Source(name, url, body, parts, code))

    def get(self, name: str) -> Source:
        return next(source for source in self.all if source.name == name)


@contextmanager
def served(folder: Path) -> Iterator[Sources]:
    """Make the sources and serve them while the block runs."""
    short, long = (_video(folder / f"{parts}.mp4", parts) for parts in (1, 3))
    with serve() as site:
        sources = Sources(site)
        sources.pictures = [_picture(folder / f"{name}.png", name) for name in ("red", "blue")]

        sources.add("short.mp4", short, parts=1)
        sources.add("long.mp4", long, parts=3)
        sources.add("slow.mp4", long, _send_slowly, parts=3)
        sources.add("flaky.mp4", short, _fails_at_every_third, parts=1)
        page = b"<!doctype html><title>Sign in</title>"
        sources.add("page.mp4", page, code="source_is_a_web_page")
        sources.add("noise.mp4", bytes(range(256)) * 100, code="source_not_a_video")
        sources.add("empty.mp4", code="source_empty")
        sources.add("missing.mp4", answer=fails(404), code="source_not_found")
        yield sources


def _fails_at_every_third(request: Request) -> None:
    if request.count % 3 == 1:
        request.send(500)
    else:
        whole(request)


def _send_slowly(request: Request) -> None:
    """Send the body over a few seconds."""
    body = request.page.body
    size = -(-len(body) // _SLOW_CHUNKS)
    request.send(200, body[:size], {"Content-Type": "video/mp4"}, length_bytes=len(body))
    for start in range(size, len(body), size):
        time.sleep(_SLOW_CHUNK_S)
        request.wfile.write(body[start : start + size])


def _video(path: Path, parts: int) -> bytes:
    seconds = parts * PART_S
    raw = path.with_suffix(".gray")
    raw.write_bytes(numbered.pictures(range(seconds * RATE), _WIDTH, _HEIGHT))
    picture = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{_WIDTH}x{_HEIGHT}"]
    picture += ["-r", str(RATE), "-i", str(raw)]
    return encode(path, *picture, *tone(seconds), *FAST)


def _picture(path: Path, colour: str) -> bytes:
    single_frame = ["-f", "lavfi", "-i", f"color={colour}:s={_WIDTH}x{_HEIGHT}", "-frames:v", "1"]
    return encode(path, *single_frame)
