"""What is refused by the look of the URL alone."""

import contextlib
import socket
from typing import NoReturn

import pytest
from hypothesis import given, strategies as st

from worker_server.fetching import UrlRefused, check_url

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
        "http://" + ".".join(["a" * 50] * 6) + "/",
        "http://example.com/\r\nX-Injected: 1",
        "http://exa\tmple.com/",
        "http://example.com/\0.mp4",
        "http://example.com/\x85",
        "http://example.com/\u2028",
        "http://example.com/\ud800",
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

TAKEN = [
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


@pytest.mark.parametrize("url", TAKEN, ids=_name)
def test_taken(url: str) -> None:
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
def test_listed_hosts_are_exempt(url: str) -> None:
    check_url(url, allow_hosts={"127.0.0.1:9000", "localhost", "media.internal:80"})


def test_a_listed_port_is_not_the_whole_host() -> None:
    with pytest.raises(UrlRefused, match="not public"):
        check_url("http://127.0.0.1:9001/", allow_hosts={"127.0.0.1:9000"})


def test_a_listed_host_does_not_bring_other_schemes() -> None:
    with pytest.raises(UrlRefused, match="Only http"):
        check_url("ftp://127.0.0.1/", allow_hosts={"127.0.0.1"})


@given(
    st.one_of(
        st.text(max_size=100),
        st.text(max_size=50).map("http://{}".format),
        st.from_regex(r"https?://\S+"),
    )
)
def test_any_text_is_taken_or_refused(url: str) -> None:
    with contextlib.suppress(UrlRefused):
        check_url(url, allow_hosts=())
