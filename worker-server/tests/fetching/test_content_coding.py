"""Content-Encoding counts only where the body is compressed."""

import gzip
import os
import zlib

import pytest
from fetching_testing import Exchange, Fetcher, Site

BODY = os.urandom(300_000)
COMPRESSED = [
    ("gzip", gzip.compress(BODY)),
    ("X-Gzip", gzip.compress(BODY)),
    ("identity, gzip", gzip.compress(BODY)),
    ("aws-chunked,gzip,", gzip.compress(BODY)),
    ("deflate", zlib.compress(BODY)),
    ("zstd", b"\x28\xb5\x2f\xfd" + BODY),
    ("compress", b"\x1f\x9d" + BODY),
    ("br", BODY),
]


@pytest.mark.parametrize(("encoding", "body"), COMPRESSED)
@pytest.mark.parametrize("first", [1, 1000])
def test_compressed_body_is_refused(
    site: Site, fetch: Fetcher, encoding: str, body: bytes, first: int
) -> None:
    def in_two(x: Exchange) -> None:
        x.head(Content_Length=len(body), Content_Encoding=encoding)
        x.send(body[:first])
        x.is_gone(0.05)
        x.send(body[first:])

    assert fetch.fails(site.on("/v.mp4", in_two)).code == "source_refused"
    assert fetch.progress == []


PLAIN = b"\x00\x00\x00\x18ftypmp42" + BODY
NOT_CODINGS = [
    "Identity",
    "aws-chunked",
    "utf-8",
    "binary",
    "none",
    ",",
    "",
    "UTF-8, binary",
    "7bit",
]


@pytest.mark.parametrize("encoding", [*NOT_CODINGS, "gzip", "deflate", "zstd", "aws-chunked, gzip"])
@pytest.mark.parametrize("body", [PLAIN, PLAIN[:3]])
def test_plain_body_is_taken_under_any_content_encoding(
    site: Site, fetch: Fetcher, encoding: str, body: bytes
) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(body, Content_Encoding=encoding))
    assert fetch(url).size_bytes == len(body)
    assert fetch.path.read_bytes() == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_empty_body_is_empty_under_any_content_encoding(
    site: Site, fetch: Fetcher, encoding: str
) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(b"", Content_Encoding=encoding))
    assert fetch.fails(url).code == "source_empty"
