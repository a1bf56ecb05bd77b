"""A bounded share of damaged frames is concealed and counted; beyond it the part fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from media_testing import some_slow

from worker_server.media import (
    Brand,
    EncodeFailed,
    MediaError,
    PartEdit,
    Profile,
    RenderedClip,
    RenderWatch,
    plan_parts,
    probe,
    render,
    renderers,
)
from worker_server.media.process.encoder import _failure

Make = Callable[..., Path]
Numbers = Callable[[Path], list[int]]
# Kinds of source, and how many frames after the damaged one may still look wrong.
KINDS = {
    "h264": ("s.mp4", "-c:v libx264 -preset ultrafast -crf 10 -bf 0 -g 10", 10),
    "motion jpeg": ("s.mov", "-c:v mjpeg -q:v 3", 1),
    "hevc": (
        "s.mkv",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=10:bframes=0",
        10,
    ),
    "mpeg-4": ("s.mkv", "-c:v mpeg4 -q:v 3 -g 10", 10),
}
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
# Encoder options of a source whose parts are copied where nothing is damaged.
COPYABLE = f"-c:v libx264 -preset ultrafast -crf 30 -profile:v high -8x8dct 1 -bf 0 -g 10 {TAGS}"


def render_part(
    path: Path,
    ffmpeg: str,
    scratch: Path,
    *,
    number: int = 0,
    part_s: int = 4,
    brand: Brand | None = None,
) -> tuple[RenderedClip, PartEdit, Path]:
    source = probe(path)
    part = plan_parts(source, part_s)[number]
    edit = PartEdit.of(source, path, part, profile=Profile("ultrafast", 14, 1), brand=brand)
    output = scratch / f"{number}.mp4"
    every = renderers("ffmpeg", ffmpeg, stream_copy=True)
    return render(edit, output, every, RenderWatch()), edit, output


@pytest.fixture
def damage(make: Make) -> Callable[[Path, str], Path]:
    """Overwrite bytes of the packets that an expression chooses, as bad sectors or losses do."""

    def run(path: Path, which: str) -> Path:
        return make(f"-i {path} -c copy -bsf:v noise=amount=({which})*40", path.name)

    return run


@pytest.mark.parametrize(
    "kind",
    ["h264", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "h264")],
)
@pytest.mark.parametrize("frame", [45, 99])
def test_one_damaged_frame_is_concealed_and_counted(
    kind: str,
    frame: int,
    numbered: Make,
    damage: Callable[[Path, str], Path],
    numbers_in: Numbers,
    ffmpeg: str,
    tmp_path: Path,
) -> None:
    name, options, reach = KINDS[kind]
    path = damage(numbered(100, "25", name, options), f"eq(n\\,{frame})")
    clip, edit, output = render_part(path, ffmpeg, tmp_path)
    assert clip.facts.frames == edit.total_frames == 150
    numbers = numbers_in(output)[25:-25]
    whole = [k for k in range(100) if not frame <= k < frame + reach]
    assert [numbers[k] for k in whole] == whole
    assert clip.facts.concealed_frames in (0, 1)
    if numbers[frame] != frame and kind != "hevc":  # whose decoder reports no error for this
        assert clip.facts.concealed_frames == 1


def test_damage_does_not_affect_other_parts(
    numbered: Make,
    damage: Callable[[Path, str], Path],
    ffmpeg: str,
    tmp_path: Path,
    numbers_in: Numbers,
) -> None:
    path = damage(numbered(100, "25", "s.mp4", COPYABLE), "eq(n\\,45)")
    clips = [render_part(path, ffmpeg, tmp_path, number=number, part_s=1) for number in range(4)]
    assert [clip.facts.concealed_frames for clip, _, _ in clips] == [0, 1, 0, 0]
    assert [clip.rendered_by for clip, _, _ in clips] == ["copy", "encode", "copy", "copy"]
    for _, edit, output in clips[:1] + clips[2:]:
        expected = list(range(edit.part.start_frame, edit.part.end_frame))
        assert numbers_in(output)[25:-25] == expected


def test_damage_just_before_a_part_does_not_keep_it_from_being_copied(
    numbered: Make,
    damage: Callable[[Path, str], Path],
    ffmpeg: str,
    tmp_path: Path,
    numbers_in: Numbers,
) -> None:
    """The sound is read from the key frame before, whose next pictures no one needs."""
    path = damage(numbered(100, "25", "s.mp4", COPYABLE), "between(n\\,41\\,49)")
    clip, _, output = render_part(path, ffmpeg, tmp_path, number=2, part_s=1)
    assert (clip.rendered_by, clip.facts.concealed_frames) == ("copy", 0)
    assert numbers_in(output)[25:-25] == list(range(50, 75))


@pytest.mark.parametrize("kind", ["h264", "motion jpeg"])
def test_damage_beyond_the_bound_is_source_damaged(
    kind: str, numbered: Make, damage: Callable[[Path, str], Path], ffmpeg: str, tmp_path: Path
) -> None:
    name, options, _ = KINDS[kind]
    path = damage(numbered(100, "25", name, options), "gte(n\\,40)*lt(n\\,70)*mod(n\\,2)")
    with pytest.raises(EncodeFailed) as caught:
        render_part(path, ffmpeg, tmp_path)
    assert (caught.value.code, caught.value.retryable) == ("source_damaged", False)
    assert "frames cannot be decoded" in caught.value.message


def test_writer_warnings_do_not_blame_the_source() -> None:
    muxer = "[vost#0:0/libx264 @ 0x1] Error submitting a packet to the muxer: Invalid data found"
    assert _failure(234, muxer).code == "encoder_failed"
    reader = "[dec:h264 @ 0x1] Error submitting packet to decoder: Invalid data found"
    assert _failure(69, f"{reader}\n{muxer}").code == "source_damaged"


def test_frames_that_are_only_of_varying_length_are_no_damage(
    numbered: Make, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    whole = numbered(100, "25", "s.mkv", "-g 1")
    path = make(f"-i {whole} -c copy -bsf:v noise=drop=eq(n\\,7)+eq(n\\,30)", "gaps.mkv")
    clip: Any = render_part(path, ffmpeg, tmp_path)[0]
    assert clip.facts.concealed_frames == 0


X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 25"
LOST = {
    "h264 in matroska": ("mkv", X264, "-c:v libx264 -preset slow -crf 12 -g 25 -bf 3 -refs 4"),
    "h264 of another size": ("mkv", X264, f"{X264} -vf scale=256:144"),
}


@pytest.mark.parametrize("brand", [None, Brand()], ids=["logo", "plain"])
@pytest.mark.parametrize("kind", some_slow(LOST, "h264 of another size"))
def test_second_piece_without_its_parameter_sets_is_source_damaged(
    kind: str,
    brand: Brand | None,
    numbered: Make,
    make: Make,
    numbers_in: Numbers,
    ffmpeg: str,
    tmp_path: Path,
) -> None:
    name, first, second = LOST[kind]
    pieces = [
        numbered(75, "25", f"{start}.{name}", options, first=start)
        for start, options in ((0, first), (75, second))
    ]
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"file '{piece}'\n" for piece in pieces))
    path = make(f"-f concat -safe 0 -auto_convert 0 -i {listing} -c copy", f"joined.{name}")
    _, edit, output = render_part(path, ffmpeg, tmp_path, part_s=2, brand=brand)
    assert numbers_in(output)[edit.frames_before :][:50] == list(range(50))
    codes = set()
    for number in (1, 2):
        try:
            render_part(path, ffmpeg, tmp_path, number=number, part_s=2, brand=brand)
        except MediaError as error:
            codes.add((error.code, error.retryable))
    assert codes == {("source_damaged", False)}
