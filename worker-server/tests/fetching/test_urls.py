"""URLs that are refused without DNS, and the bytes that are sent for the others."""

import contextlib
import socket
import tracemalloc
from typing import NoReturn

import pytest
from hypothesis import given, strategies as st

from worker_server.fetching import UrlRefused, check_url
from worker_server.fetching.addresses import EgressRules
from worker_server.fetching.urls import MAX_TARGET_LENGTH, parse_http_url, resolve_location

REFUSED = {
    "url_invalid": [
        "",
        "video.mp4",
        "example.com/video.mp4",
        "//example.com/video.mp4",
        "example.com:8080/video.mp4",
        "http:",
        "http:///video.mp4",
        "http:example.com",
        "http://[zz]/",
        "http://[::1/",
        "http://a b/",
        "http://x:99999/",
        "http://x:-1/",
        "http://x:port/",
        "http://a..b/",
        "http://*.example.com/",
        "http://" + "a" * 64 + ".com/",
        "http://[2606:4700::1111%25eth0]/",
        "http://\uff45xample.com/",
        "http://" + ".".join(["a" * 50] * 6) + "/",
        "http://example.com/\r\nX-Injected: 1",
        "http://exa\tmple.com/",
        "http://example.com/\0.mp4",
        "http://example.com/\x85",
        "http://example.com/\u2028",
        "http://example.com/\ud800",
        "http://example.com\\.evil.example/",
        "http://\ud800/",
        " http://example.com/",
        "http://example.com/ ",
    ],
    "url_too_long": ["http://example.com/" + "a" * 2030, "a" * 10_000_000],
    "url_scheme_not_allowed": [
        "file:///etc/passwd",
        "ftp://example.com/a.mp4",
        "data:video/mp4;base64,AAAA",
        "gopher://example.com:70/_x",
        "javascript:alert(1)",
        "httpx://example.com/",
        "concat:a|b",
    ],
    "url_credentials_not_allowed": [
        "http://user:pass@example.com/",
        "http://user@example.com/",
        "http://@example.com/",
        "http://example.com\\@127.0.0.1/",
    ],
    "url_port_not_allowed": [
        "http://example.com:22/",
        "http://example.com:6379/",
        "http://example.com:25/",
        "http://example.com:0/",
        "http://example.com:5432/",
    ],
    "url_private_address": [
        "http://127.0.0.1/",
        "http://127.0.0.1:22/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7F000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://127.0.0.1./",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127。0。0。1/",
        "http://①②⑦.1/",
        "http://%31%32%37.0.0.1/",
        "http://169.254.169.254/computeMetadata/v1/",
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00:ec2::254]/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://x.localhost/",
        "http://metadata.google.internal/",
        "http://db.internal/",
        "http://printer.local/",
    ],
}

ACCEPTED = [
    "http://example.com",
    "HTTPS://EXAMPLE.com/a.mp4",
    "https://example.com:443/a.mp4?token=x&y#t=1",
    "http://example.com:8080/",
    "https://example.com:8443/",
    "http://my_bucket.example.com/",
    "http://example.com./a",
    "http://bücher.example/ü ä.mp4",
    "http://例え.テスト/",
    "http://example.com/../../etc/passwd",
    "http://example.com/%2e%2e%2f-i.mp4;rm",
    "http://example.com/\u202e4pm.😀",
    "http://8.8.8.8/a.mp4",
    "http://134744072/a.mp4",
    "http://[2606:4700::1111]/a.mp4",
    "http://localhost.example.com/",
    "http://example.com/" + "a" * 2029,
]


def _name(text: str) -> str:
    return ascii(text)[1:50]


@pytest.fixture(autouse=True)
def no_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that looks a name up."""

    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise AssertionError("a name was looked up")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.mark.parametrize(
    ("code", "url"), [(code, url) for code, urls in REFUSED.items() for url in urls], ids=_name
)
def test_refused(code: str, url: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        check_url(url, allow_hosts=())
    assert caught.value.code == code
    assert str(caught.value) == caught.value.message
    assert "pass" not in caught.value.message.replace("password", "")


@pytest.mark.parametrize("url", ACCEPTED, ids=_name)
def test_accepted(url: str) -> None:
    check_url(url, allow_hosts=())


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/",
        "http://127.1:9000/",
        "http://localhost:1234/",
        "http://media.internal/a.mp4",
    ],
)
def test_allowed_hosts_are_exempt(url: str) -> None:
    check_url(url, allow_hosts={"127.0.0.1:9000", "localhost", "media.internal:80"})


@pytest.mark.parametrize(
    ("code", "authority"),
    [
        ("url_invalid", "a." * 4000),
        ("url_invalid", "a." * 4000 + ":80"),
        ("url_invalid", "[" + ":" * 8000 + "]"),
        ("url_invalid", "\u0301" * 4000 + "\u0323" * 4000),
        ("url_credentials_not_allowed", "a." * 4000 + "@example.com"),
    ],
)
def test_long_host_takes_no_quadratic_memory(code: str, authority: str) -> None:
    """A batch has a thousand URLs, and a name of 4,000 labels as many parents of 4,000 letters."""
    tracemalloc.start()
    try:
        with pytest.raises(UrlRefused) as refused:
            parse_http_url(f"http://{authority}/", EgressRules(), MAX_TARGET_LENGTH)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (refused.value.code, peak_bytes < 1_000_000) == (code, True), peak_bytes


def test_allowed_port_does_not_allow_other_ports() -> None:
    with pytest.raises(UrlRefused, match="not public"):
        check_url("http://127.0.0.1:9001/", allow_hosts={"127.0.0.1:9000"})


def test_denied_host_stays_denied_when_it_is_allowed() -> None:
    for url in ("http://10.1.2.3/", "http://10.1.2.3:9000/", "http://0xa010203/"):
        with pytest.raises(UrlRefused) as caught:
            check_url(url, allow_hosts={"10.1.2.3"}, deny_hosts={"10.0.0.0/8"})
        assert caught.value.code == "url_host_not_allowed"


@pytest.mark.parametrize("url", ["http://videos.example/a.mp4", "https://EU.Videos.example./"])
def test_denied_name_is_refused_without_dns(url: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        check_url(url, allow_hosts=(), deny_hosts={"videos.example"})
    assert caught.value.code == "url_host_not_allowed"
    check_url("http://videos.example.org/", allow_hosts=(), deny_hosts={"videos.example"})


def test_allowed_host_does_not_allow_other_schemes() -> None:
    with pytest.raises(UrlRefused, match="Only http"):
        check_url("ftp://127.0.0.1/", allow_hosts={"127.0.0.1"})


@given(
    st.one_of(
        st.text(max_size=100),
        st.text(max_size=50).map("http://{}".format),
        st.from_regex(r"https?://\S+"),
    )
)
def test_any_text_is_accepted_or_refused_as_url(url: str) -> None:
    with contextlib.suppress(UrlRefused):
        check_url(url, allow_hosts=())


# Every character that RFC 3986 allows in a path and in a query, in the forms that normalisers
# rewrite: escapes of unreserved characters, lower-case digits, dot segments, empty parts.
LEGAL_TARGETS = [
    "/v.mp4?sig=a%7Eb%5Fc%2Dd%2e&e=%2f%2F",
    "/v.mp4?",
    "/?",
    "/v.mp4?&&=&a",
    "/a//b///c.mp4",
    "/a/./b/../c/%2e%2E/d",
    "/a+b%20c%2Bd",
    "/~user/(1)!*';:@&=$,[x].mp4",
    "/v?a=b?c=/d&e[]=[1]&f='()*!~",
    "/%c3%bc%C3%BC/%41%7a",
    "/%00%ff%0d%0a",
]


@pytest.mark.parametrize("target", LEGAL_TARGETS)
def test_legal_target_is_kept_byte_for_byte(target: str) -> None:
    url = parse_http_url(f"https://example.com{target}#t=1", EgressRules())
    assert url.target == target
    assert str(url) == f"https://example.com{target}"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/a b.mp4", "/a%20b.mp4"),
        ("/ü.mp4", "/%C3%BC.mp4"),
        ("/100%.mp4?x=%7E", "/100%25.mp4?x=%7E"),
        ("/%zz%7", "/%25zz%257"),
        ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/v?q=ü&sig=%2f", "/v?q=%C3%BC&sig=%2f"),
        ("?a=b", "/?a=b"),
        ("", "/"),
    ],
)
def test_only_illegal_characters_are_encoded(written: str, sent: str) -> None:
    assert parse_http_url(f"http://example.com{written}", EgressRules()).target == sent


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
def test_target_is_always_legal_and_encoding_it_twice_changes_nothing(text: str) -> None:
    once = parse_http_url(f"http://example.com/{text}", EgressRules()).target
    assert parse_http_url(f"http://example.com{once}", EgressRules()).target == once


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://cdn.example/v?sig=%7E%2f&x=", "https://cdn.example/v?sig=%7E%2f&x="),
        ("HTTPS://CDN.example/v?", "HTTPS://CDN.example/v?"),
        ("//cdn.example/%7e", "https://cdn.example/%7e"),
        ("/a/../b%2e?", "https://example.com:8443/a/../b%2e?"),
        ("c;p=1;?q=%2f", "https://example.com:8443/a/c;p=1;?q=%2f"),
        ("../c//d?e=../f", "https://example.com:8443/c//d?e=../f"),
        ("../../../c/.", "https://example.com:8443/c/"),
        ("?r=%7E", "https://example.com:8443/a/b?r=%7E"),
        ("", "https://example.com:8443/a/b?q=1"),
        ("#t=1", "https://example.com:8443/a/b?q=1"),
        ("/\xc3\xbc \xfc", "https://example.com:8443/ü %FC"),
    ],
)
def test_location_is_resolved_as_it_was_written(location: str, expected: str) -> None:
    base = parse_http_url("https://example.com:8443/a/b?q=1", EgressRules())
    assert resolve_location(base, location) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("g", "/b/c/g"),
        ("./g/", "/b/c/g/"),
        (";x", "/b/c/;x"),
        (".", "/b/c/"),
        ("..", "/b/"),
        ("../g", "/b/g"),
        ("../..", "/"),
        ("../../g", "/g"),
        ("../../../g", "/g"),
        ("..g", "/b/c/..g"),
        ("./g/.", "/b/c/g/"),
        ("g/../h", "/b/c/h"),
        ("g?y/../x", "/b/c/g?y/../x"),
    ],
)
def test_location_is_resolved_as_in_the_examples_of_rfc_3986(location: str, expected: str) -> None:
    base = parse_http_url("https://example.com/b/c/d;p?q", EgressRules())
    assert resolve_location(base, location) == f"https://example.com{expected}"
