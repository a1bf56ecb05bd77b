"""A worker that cannot do its work does not start, and says why in one sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from worker_server.media import selftest
from worker_server.media.probing import probe as probing
from worker_server.media.process.sandbox import SandboxReport
from worker_server.media.selftest import SelfTestFailed

Make = Callable[..., Path]


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_a_whole_installation_passes(engine: str, ffmpeg: str) -> None:
    assert selftest.check_sandbox(allow_none=False).holds
    selftest.check_probe(ffmpeg)
    selftest.check_renderer(engine, ffmpeg, None)


@pytest.mark.parametrize("name", ["logo.png", "logo.jpg", "our logo %03d.webp"])
def test_custom_logo_passes(name: str, make: Make, ffmpeg: str) -> None:
    encoding = "-c:v libwebp" if name.endswith("webp") else ""
    made = make(f"-f lavfi -i color=c=red:s=90x60:d=1 -frames:v 1 {encoding}", Path(name).suffix)
    selftest.check_renderer("ffmpeg", ffmpeg, made.rename(made.with_name(name)))


def test_a_logo_that_is_not_there_is_named(ffmpeg: str, tmp_path: Path) -> None:
    with pytest.raises(SelfTestFailed, match=r"LOGO_PATH names no file: .*/logo.png"):
        selftest.check_renderer("ffmpeg", ffmpeg, tmp_path / "logo.png")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_logo_that_is_no_picture_is_named(content: bytes, ffmpeg: str, tmp_path: Path) -> None:
    logo = tmp_path / "logo.png"
    logo.write_bytes(content)
    with pytest.raises(SelfTestFailed, match=r"LOGO_PATH cannot be drawn: .*/logo.png") as caught:
        selftest.check_renderer("ffmpeg", ffmpeg, logo)
    assert "\n" not in str(caught.value)


def test_a_broken_library_stops_the_probe(ffmpeg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As av 19 did, whose functions take other arguments."""
    monkeypatch.setattr(probing, "_CHILD", "worker_server.media.no_such_module")
    with pytest.raises(SelfTestFailed, match=r"The probe does not work: .*no_such_module"):
        selftest.check_probe(ffmpeg)


def test_an_ffmpeg_that_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(SelfTestFailed, match="ffmpeg does not work"):
        selftest.check_probe(str(tmp_path / "ffmpeg"))


def test_worker_without_sandbox_starts_only_with_allow_no_sandbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        selftest, "measure_sandbox", lambda: SandboxReport(0, (), ("read a secret",))
    )
    with pytest.raises(SelfTestFailed, match=r"read a secret.*ALLOW_NO_SANDBOX=1"):
        selftest.check_sandbox(allow_none=False)
    assert selftest.check_sandbox(allow_none=True).level == "none"
