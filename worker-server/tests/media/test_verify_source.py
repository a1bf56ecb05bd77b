"""A clip is held to its source: pictures as a player shows them, and the level of the sound."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worker_server.media import (
    ClipRejected,
    FrameRange,
    PartEdit,
    Preparation,
    Profile,
    RendererDeclined,
    RenderWatch,
    plan_parts,
    probe,
    render,
    renderer,
    renderers,
    verify_clip,
)

Make = Callable[..., Path]
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
MOTION = "-f lavfi -i testsrc2=s=640x360:r=25:d=4"
TONE = "-f lavfi -i aevalsrc=exprs=0.3*sin(1000*PI*t)|0.3*sin(1000*PI*t):s=48000:d=4"
SQUARE_WAVE = "aevalsrc=exprs=if(gte(sin(880*PI*t)\\,0)\\,1\\,-1):s=24000"
FIT = (
    "-c:v libx264 -preset ultrafast -crf 26 -pix_fmt yuv420p"
    f" -profile:v high -8x8dct 1 -g 20 {TAGS}"
)
GOOD = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -c:a aac -ar 48000 -ac 2"
SEI = "-bsf:v h264_metadata=display_orientation=insert:{}"
# Each says how a player shows what is stored.
MATRICES = {
    "upside down": "-display_vflip",
    "mirrored": "-display_hflip",
    "mirrored and turned": "-display_rotation 90 -display_hflip",
    "turned by a right angle": "-display_rotation 90",
    "turned by thirty degrees": "-display_rotation 30",
}


QUICK = {"upside down", "turned by thirty degrees"}
KINDS = [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in MATRICES]
ENGINES = pytest.mark.parametrize(
    "engine", ["ffmpeg", pytest.param("moviepy", marks=pytest.mark.slow)]
)


@pytest.fixture(scope="session")
def plain(make: Make) -> Path:
    return make(f"{MOTION} {TONE} {FIT} -c:a aac", "plain.mp4")


def as_shown(path: Path, edit: PartEdit, ffmpeg: str, output: Path) -> Path:
    """Render the source as plain ffmpeg shows it, cropped and scaled to the clip's size."""
    size = f"{edit.width}:{edit.height}"
    fit = f"scale={size}:force_original_aspect_ratio=increase,crop={size},setsar=1,format=yuv420p"
    command = [ffmpeg, "-v", "error", "-y", "-i", str(path), "-an", "-vf", fit]
    subprocess.run([*command, "-c:v", "libx264", "-crf", "10", str(output)], check=True)
    return output


def correlation(clip: Path, shown: Path, edit: PartEdit, ffmpeg: str) -> list[float]:
    """The structural similarity of every frame of the part to the source as shown."""
    first, last = edit.frames_before, edit.frames_before + edit.part.frame_count
    cut = f"[0:v]trim=start_frame={first}:end_frame={last},setpts=PTS-STARTPTS[c]"
    graph = f"{cut};[c][1:v]ssim=stats_file=-"
    command = [ffmpeg, "-v", "error", "-i", str(clip), "-i", str(shown), "-lavfi", graph]
    done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, check=True)
    return [float(value) for value in re.findall(r"All:([\d.]+)", done.stdout)]


@ENGINES
@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_as_a_player_shows_it(
    kind: str, engine: str, plain: Path, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    if engine == "moviepy" and "thirty" in kind:
        pytest.xfail("MoviePy's reader turns by right angles only")
    path = make(f"{MATRICES[kind]} -i {plain} -c copy", "matrix.mp4")
    source = probe(path)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, path, part, profile=Profile("ultrafast", 14, 1))
    output = tmp_path / "clip.mp4"
    clip = render(edit, output, renderers(engine, ffmpeg, stream_copy=True), RenderWatch())
    assert clip.rendered_by == "encode"
    ratios = correlation(output, as_shown(path, edit, ffmpeg, tmp_path / "shown.mp4"), edit, ffmpeg)
    assert len(ratios) == 100
    assert min(ratios) > 0.9


@pytest.mark.parametrize("orientation", ["rotate=180", "flip=vertical"])
def test_an_orientation_inside_the_stream_is_not_copied_away(
    orientation: str, plain: Path, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = make(f"-i {plain} -c copy {SEI.format(orientation)}", "sei.mp4")
    source = probe(path)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, path, part, profile=Profile("ultrafast", 14, 1))
    # Even if the probe had not seen it.
    plain_facts = replace(source, rotation=0, mirrored=False, preparation=Preparation.NONE)
    unaware = replace(edit, source=plain_facts)
    with pytest.raises(RendererDeclined, match="display orientation SEI"):
        render(unaware, tmp_path / "clip.mp4", [renderer("copy", ffmpeg)], RenderWatch())


@pytest.mark.parametrize("matrix", ["-display_vflip", "-display_rotation 180"])
def test_a_copy_that_loses_the_matrix_is_rejected(
    matrix: str, plain: Path, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """As if nothing before verification had noticed."""
    path = make(f"{matrix} -i {plain} -c copy", "matrix.mp4")
    source = replace(probe(path), rotation=0, mirrored=False)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, path, part)
    copy = renderer("copy", ffmpeg)
    with pytest.raises(ClipRejected, match="pictures of frames"):
        render(edit, tmp_path / "clip.mp4", [copy], RenderWatch())


@pytest.mark.parametrize(
    ("filters", "options"),
    [("vflip", ""), ("hflip", ""), ("negate", "")],
)
def test_other_pictures_are_found_in_an_encoded_clip(
    filters: str, options: str, plain: Path, make: Make
) -> None:
    source = probe(plain)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, plain, part, logo_s=0.0)
    assert verify_clip(make(f"-i {plain} {GOOD}", "good.mp4"), edit).frames == 100
    with pytest.raises(ClipRejected, match="pictures of frames"):
        verify_clip(make(f"-i {plain} -vf {filters} {options} {GOOD}", "bad.mp4"), edit)


@pytest.mark.parametrize(
    ("when", "frames"), [("between(t\\,1\\,2)", [40]), ("gte(t\\,3)", [80])], ids=["middle", "end"]
)
def test_other_pictures_later_in_the_part_are_found(
    when: str, frames: list[int], plain: Path, make: Make
) -> None:
    """Both have a key frame every 20 frames; compared are those at 0, 40 and 80."""
    source = probe(plain)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, plain, part, logo_s=0.0)
    bad = make(f"-i {plain} -vf negate=enable={when} {GOOD} -g 20 -sc_threshold 0", "bad.mp4")
    with pytest.raises(ClipRejected, match=re.escape(f"pictures of frames {frames}")):
        verify_clip(bad, edit)


@pytest.mark.parametrize(("stream", "difference"), [("v", "pictures of frames"), ("a", "dB from")])
def test_packets_that_cannot_be_decoded_are_found(
    stream: str, difference: str, plain: Path, make: Make
) -> None:
    """All are there, each with its time; a player shows or plays none of them."""
    source = probe(plain)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, plain, part, logo_s=0.0)
    clip = make(f"-i {plain} {GOOD}", "good.mp4")
    bad = make(f"-i {clip} -c copy -bsf:{stream} noise=amount=1", "bad.mp4")
    with pytest.raises(ClipRejected, match=difference):
        verify_clip(bad, edit)


@pytest.mark.parametrize("join", [85, 92])
def test_wrong_pictures_after_a_join_are_found(join: int, plain: Path, make: Make) -> None:
    """Encoded pictures follow copied ones where the source has no key frame: at 0, 20 … 80."""
    source = probe(plain)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, plain, part, logo_s=0.0)
    copied = make(f"-i {plain} -an -c copy -frames:v {join} -bsf:v h264_mp4toannexb", "a.h264")
    sound = f"-i {plain} -map 0:v -map 1:a -c:v copy -c:a aac -ar 48000 -ac 2"
    for filters, is_good in (("null", True), ("vflip", False)):
        cut = f"trim=start_frame={join},setpts=PTS-STARTPTS,{filters}"
        encoded = make(f"-i {plain} -an -vf {cut} {FIT}", f"{filters}.h264")
        joined = copied.with_name("joined.h264")
        joined.write_bytes(copied.read_bytes() + encoded.read_bytes())
        clip = make(f"-framerate 25 -i {joined} {sound}", f"{filters}.mp4")
        if is_good:
            assert verify_clip(clip, edit).frames == 100
            continue
        with pytest.raises(ClipRejected, match=rf"pictures of frames \[{join}\]"):
            verify_clip(clip, edit)


@pytest.mark.parametrize("logo_s", [0.0, 0.2])
def test_encoded_part_that_begins_near_a_key_frame_is_accepted(
    logo_s: float, plain: Path, ffmpeg: str, tmp_path: Path
) -> None:
    """What is before the part's first frame is the logo or nothing; no source frame is shown."""
    source = probe(plain)
    edit = PartEdit.of(source, plain, FrameRange(0, 25, 100, source.frame_rate), logo_s=logo_s)
    renderers = {"copy": "copy", "ffmpeg": "encode"}
    for name, rendered_by in renderers.items():
        clip = render(edit, tmp_path / f"{name}.mp4", [renderer(name, ffmpeg)], RenderWatch())
        assert (clip.facts.frames, clip.rendered_by) == (edit.total_frames, rendered_by)


def refuse_other_level(change: str, path: Path, make: Make) -> None:
    """Check that a clip of the source with changed sound is rejected for its level."""
    source = probe(path)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, path, part, logo_s=0.0)
    with pytest.raises(ClipRejected, match="dB from the source's"):
        verify_clip(make(f"-i {path} -af {change} {GOOD}", "bad.mp4"), edit)


@pytest.mark.parametrize("change", ["volume=-3dB", "volume=4dB", "volume=0"])
def test_another_level_of_sound_is_found(change: str, plain: Path, make: Make) -> None:
    refuse_other_level(change, plain, make)


@pytest.mark.parametrize("name", ["wma.avi", "wma.mkv", "wma.wmv"])
def test_last_frame_of_sound_without_a_time_stamp(
    name: str, make: Make, render: Callable[..., Any]
) -> None:
    """The last part is short and silent: a level is sought up to the end of the file."""
    tone = "aevalsrc=exprs='0.5*sin(880*PI*t)*lt(t\\,1)':s=44100:d=2.12"
    picture = "-f lavfi -i testsrc2=s=160x90:r=25:d=2.12"
    path = make(f"{picture} -f lavfi -i {tone} -c:v mpeg4 -c:a wmav2", name)
    source = probe(path)
    clips = [render(source, path, part, logo_s=0.2) for part in plan_parts(source, 2)]
    assert len(clips) == 2


@pytest.mark.parametrize("change", ["volume=0", "volume=-20dB"])
def test_lost_sound_of_a_loud_source_is_found(change: str, make: Make) -> None:
    tone = "-f lavfi -i aevalsrc=exprs=0.99*sin(880*PI*t):s=48000:d=4"
    refuse_other_level(change, make(f"{MOTION} {tone} {FIT} -c:a pcm_s16le", "loud.mkv"), make)


def frames_of_clip(path: Path, ffmpeg: str, folder: Path) -> int:
    """Render and verify the whole source as one part; return the clip's number of frames."""
    source = probe(path)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, path, part, logo_s=0.0)
    clip = render(edit, folder / "clip.mp4", [renderer("ffmpeg", ffmpeg)], RenderWatch())
    return clip.facts.frames


@pytest.mark.parametrize("every_s", [1, 0.5, 0.25])
@pytest.mark.parametrize("codec", ["aac -ar 16000", "libmp3lame -ar 22050", "libopus -ar 8000"])
def test_short_beeps_in_silence_have_their_source_s_level(
    codec: str, every_s: float, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """A beep may begin where a level is measured; frames of the source are longer than clips'."""
    picture = "-f lavfi -i testsrc2=s=160x90:r=25:d=2"
    beeps = f"-f lavfi -i aevalsrc=exprs='0.5*sin(2000*PI*t)*lt(mod(t\\,{every_s})\\,0.05)':d=2"
    path = make(f"{picture} {beeps} -c:v libx264 -preset ultrafast -c:a {codec}", "beeps.mkv")
    assert frames_of_clip(path, ffmpeg, tmp_path) == 50


@pytest.mark.parametrize(
    ("sound", "codec"),
    [
        (
            "aevalsrc=exprs=0.3*sin(38000*PI*t):s=48000",
            "pcm_s16le",
        ),  # 19 kHz
        ("anoisesrc=a=0.8:r=96000", "pcm_s16le"),
        ("anoisesrc=a=0.8:r=192000", "pcm_s24le"),
        ("anoisesrc=a=1:r=48000,volume=12dB", "pcm_f32le"),
        ("aevalsrc=exprs=1.5*sin(880*PI*t):s=48000", "pcm_f32le"),
        # The encoder lowers what reaches full scale.
        (SQUARE_WAVE, "pcm_s16le"),
        (SQUARE_WAVE, "flac"),
        ("anoisesrc=a=1:r=24000,volume=14dB", "pcm_s16le"),
        ("anoisesrc=a=1:r=48000,volume=-2dB", "libopus"),
    ],
    ids=[
        *("19 kHz", "96 kHz", "192 kHz", "12 dB too loud", "4 dB too loud"),
        *("square wave", "square wave in FLAC", "limited noise", "noise of decoded peaks"),
    ],
)
def test_sound_that_no_encoder_keeps_is_not_held_against_a_clip(
    sound: str, codec: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    picture = "-f lavfi -i testsrc2=s=160x90:r=25:d=4"
    encoding = f"-c:v libx264 -preset ultrafast -c:a {codec} -t 4"
    path = make(f"{picture} -f lavfi -i {sound} {encoding}", "loud.mkv")
    assert frames_of_clip(path, ffmpeg, tmp_path) == 100


@ENGINES
@pytest.mark.parametrize(
    ("picture", "sound", "name"),
    [
        ("-f lavfi -i color=c=red:s=320x180:r=25:d=0.04", "-f lavfi -i sine=d=12", "still.mkv"),
        ("-f lavfi -i testsrc2=s=320x180:r=25:d=3", "-f lavfi -i sine=d=12", "stopped.mp4"),
        ("-f lavfi -i testsrc2=s=320x180:r=10:d=7", "-f lavfi -i sine=d=12", "share.mkv"),
    ],
)
def test_the_last_picture_is_held_while_sound_goes_on(
    picture: str, sound: str, name: str, engine: str, make: Make, render: Callable[..., Any]
) -> None:
    path = make(f"{picture} {sound} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac", name)
    source = probe(path)
    clips = [
        render(source, path, part, engine=engine, logo_s=0.2) for part in plan_parts(source, 5)
    ]
    assert sum(clip.edit.part.frame_count for clip in clips) == round(12 * source.frame_rate)
    assert len(clips) == 3


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("one.mkv", "-c:v mjpeg"), ("one.mp4", "-c:v libx264"), ("one.webm", "-c:v libvpx")],
)
def test_one_frame_without_a_duration_is_a_clip(
    name: str, encoding: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    picture = "-f lavfi -i testsrc2=s=320x180:r=25 -frames:v 1 -pix_fmt yuv420p"
    if "mjpeg" in encoding:
        picture = picture.replace("yuv420p", "yuvj420p")
    path = make(f"{picture} {encoding} -bsf:v setts=duration=0", name)
    source = probe(path)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, path, part)
    every = renderers("ffmpeg", ffmpeg, stream_copy=True)
    clip = render(edit, tmp_path / "clip.mp4", every, RenderWatch())
    assert clip.facts.frames == 2 * edit.frames_before + 1
