"""Quality figures compare decoded pixels and ignore the files' colour tags."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from bench.implementations import by_hand, edits
from bench.quality import Quality, quality
from worker_server.media import PartEdit, Profile

_TAGS = {  # ISO/IEC 23091-2: primaries, transfer, matrix
    "BT.709": (1, 1, 1),
    "BT.601": (6, 6, 6),
    "none": (2, 2, 2),
}
_BT709 = "-color_range tv -colorspace bt709 -color_primaries bt709 -color_trc bt709"


def _ffmpeg(*arguments: str) -> None:
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments], check=True)


@pytest.fixture(scope="module")
def edit(tmp_path_factory: pytest.TempPathFactory) -> PartEdit:
    video = tmp_path_factory.mktemp("source") / "source.mp4"
    picture = "testsrc2=size=640x360:rate=25,noise=alls=12:allf=t"
    encoder = "-c:v libx264 -preset ultrafast -crf 10 -pix_fmt yuv420p"
    _ffmpeg(
        "-f", "lavfi", "-i", picture, "-t", "1.4", *encoder.split(), *_BT709.split(), str(video)
    )
    return edits(video, Profile("ultrafast", 38, 1))[0]


@pytest.fixture(scope="module")
def clip(edit: PartEdit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("clip") / "clip.mp4"
    by_hand(edit, output)
    return output


@pytest.fixture
def filtered(edit: PartEdit, clip: Path, tmp_path: Path) -> Callable[[str], Quality]:
    """Return the quality of the clip after a filter; frame numbers count from the clip's begin."""

    def run(graph: str) -> Quality:
        output = tmp_path / "filtered.mp4"
        encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "4"]
        _ffmpeg("-i", str(clip), "-vf", graph, *encoder, str(output))
        return quality(output, edit)

    return run


def _tagged(video: Path, name: str) -> Path:
    primaries, transfer, matrix = _TAGS[name]
    output = video.with_name(f"{video.stem}-{name}.mp4")
    tags = f"colour_primaries={primaries}:transfer_characteristics={transfer}"
    tags += f":matrix_coefficients={matrix}:video_full_range_flag=0"
    _ffmpeg("-i", str(video), "-c", "copy", "-bsf:v", f"h264_metadata={tags}", str(output))
    return output


@pytest.mark.parametrize("source_tags", _TAGS)
@pytest.mark.parametrize("clip_tags", _TAGS)
def test_colour_tags_change_no_figure(
    edit: PartEdit, clip: Path, clip_tags: str, source_tags: str
) -> None:
    tagged = replace(edit, source_path=_tagged(edit.source_path, source_tags))
    assert quality(_tagged(clip, clip_tags), tagged) == quality(clip, edit)


def test_one_bad_frame_lowers_the_worst_vmaf_but_not_the_mean(
    edit: PartEdit, filtered: Callable[[str], Quality]
) -> None:
    bad_frame = edit.frames_before + 20
    good, bad = filtered("null"), filtered(f"boxblur=10:enable='eq(n,{bad_frame})'")
    assert bad.vmaf_worst < good.vmaf_worst - 20
    assert good.vmaf_mean - 5 < bad.vmaf_mean < good.vmaf_mean


def test_damaged_chroma_shows_in_its_ssim_and_not_in_vmaf(
    filtered: Callable[[str], Quality],
) -> None:
    good, grey = filtered("null"), filtered("lutyuv=u=128:v=128")
    assert grey.chroma_ssim < good.chroma_ssim - 0.1
    assert grey.vmaf_mean == pytest.approx(good.vmaf_mean, abs=0.5)


def test_bumpers_do_not_count(edit: PartEdit, filtered: Callable[[str], Quality]) -> None:
    black_bumper = filtered(f"lutyuv=y=16:enable='lt(n,{edit.frames_before})'")
    assert black_bumper.vmaf_mean == pytest.approx(filtered("null").vmaf_mean, abs=0.5)


def test_a_clip_that_is_one_frame_late_is_compared_with_the_right_frames(
    edit: PartEdit, clip: Path, tmp_path: Path
) -> None:
    late = tmp_path / "late.mp4"
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "4"]
    _ffmpeg("-i", str(clip), "-vf", "trim=start_frame=1,setpts=N/25/TB", *encoder, str(late))
    as_made = quality(clip, edit).vmaf_mean
    assert quality(late, edit).vmaf_mean < as_made - 5
    assert quality(late, edit, is_exact=False).vmaf_mean == pytest.approx(as_made, abs=1)


def test_a_source_whose_pixel_values_must_change_is_refused(edit: PartEdit, clip: Path) -> None:
    full_range = replace(edit, source=replace(edit.source, full_range=True))
    with pytest.raises(ValueError, match="limited-range BT\\.709"):
        quality(clip, full_range)
