"""Parts that end at key frames, in quiet moments and at scene changes, or else at the limit."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, strategies as st

from worker_server.media import (
    Cut,
    EditError,
    EncodeFailed,
    FrameRange,
    PlannedClip,
    PrepareWatch,
    Source,
    Stopped,
    TimeRange,
    plan_clips,
    plan_cuts,
    probe,
)
from worker_server.media.cutting.key_frame_cuts import KeyFrameCuts
from worker_server.media.cutting.quiet_cuts import quietest
from worker_server.media.model.containers import open_source
from worker_server.media.model.plan import frames_of
from worker_server.media.probing import prepare
from worker_server.media.process.child import MAX_RESPONSE_BYTES
from worker_server.media.rendering.copyable_span import find_span

Make = Callable[..., Path]
SEARCHED = (Cut.KEYFRAME, Cut.SILENCE, Cut.SCENE)
RATES = st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60)])
WHOLE = (TimeRange(),)
SIZE = "160x90"


class Listed:
    """Finds frames of a list, and nothing else."""

    def __init__(self, frames: set[int], earliest: Fraction) -> None:
        self.frames, self.earliest = sorted(frames), earliest

    def find(self, low: int, high: int) -> int | None:
        index = bisect_right(self.frames, high) - 1
        return self.frames[index] if index >= 0 and self.frames[index] >= low else None


@given(
    st.integers(1, 5000),
    RATES,
    st.decimals(2, 60, places=1).map(Fraction),
    st.sets(st.integers(0, 5000), max_size=60),
    st.sampled_from([Fraction(0), Fraction(3, 4)]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 200)), min_size=1, max_size=4),
)
def test_each_frame_is_in_one_part_wherever_they_end(
    plain_source: Source,
    frames: int,
    rate: Fraction,
    part_s: Fraction,
    places: set[int],
    earliest: Fraction,
    spans: list[tuple[int, int]],
) -> None:
    source = replace(plain_source, frame_count=frames, frame_rate=rate, duration_s=frames / rate)
    time_ranges = [
        TimeRange(Fraction(start), Fraction(start + length))
        for start, length in spans
        if start * rate < frames
    ] or [TimeRange()]
    clips = plan_clips(source, time_ranges, part_s, Listed(places, earliest))
    assert [clip.part.number for clip in clips] == list(range(len(clips)))
    for index, time_range in enumerate(time_ranges):
        first, end = frames_of(source, time_range)
        parts = [clip.part for clip in clips if clip.time_range == index]
        assert (parts[0].start_frame, parts[-1].end_frame) == (first, end)
        assert all(part.end_frame == following.start_frame for part, following in pairwise(parts))
        assert all(part.frame_count / rate <= part_s for part in parts)
        if len(parts) > 1:
            assert (
                min(part.frame_count for part in parts)
                >= float(rate * min(Fraction(1), part_s / 2)) - 1
            )


@given(st.sets(st.integers(0, 500)), st.integers(0, 500), st.integers(0, 500))
def test_last_key_frame_before_the_limit(frames: set[int], low: int, high: int) -> None:
    reachable = [frame for frame in frames if low <= frame <= high]
    assert KeyFrameCuts(iter(frames)).find(low, high) == (max(reachable) if reachable else None)


@given(st.lists(st.sampled_from([0.0, 1e-12, 0.001, 0.25, 1.0]), min_size=1, max_size=200))
def test_quietest_moment_is_no_louder_than_any_other(power: list[float]) -> None:
    middle = float(quietest(np.array(power)))
    width = min(10, len(power))
    means = [sum(power[at : at + width]) / width for at in range(len(power) - width + 1)]
    assert 0 <= middle <= len(power)
    at = min(len(means) - 1, max(0, round(middle - width / 2)))
    near = means[max(0, at - 1) : at + 2]
    assert min(near) <= max(min(means) * 1.26, 1.01e-8) * 1.0001


def shots(make: Make, lengths: list[int], *more: str, name: str = "s.mp4") -> Path:
    """Make a video of 25 fps from shots of these lengths in frames, with motion and noise."""
    kinds = ["testsrc2", "mandelbrot", "smptebars", "rgbtestsrc", "cellauto", "yuvtestsrc"]
    inputs, labels = [], ""
    for index, length in enumerate(lengths):
        inputs += ["-f", "lavfi", "-i", f"{kinds[index % len(kinds)]}=s={SIZE}:r=25"]
        labels += f"[{index}]format=yuv420p,noise=alls=12:allf=t,trim=end_frame={length}[v{index}];"
    joined = "".join(f"[v{index}]" for index in range(len(lengths)))
    graph = f"{labels}{joined}concat=n={len(lengths)}"
    encode = ["-c:v", "libx264", "-preset", "ultrafast", *more]
    return make("", name, *inputs, "-filter_complex", graph, *encode)


def gaps(make: Make, quiet: list[tuple[float, float]], *more: str, seconds: int = 24) -> Path:
    """Make a video of 25 fps with a loud tone that is silent from … to, in seconds."""
    off = "+".join(f"between(t,{start},{end})" for start, end in quiet)
    sound = f"sine=f=440:r=44100:d={seconds},volume=0:enable='{off}'"
    picture = f"testsrc2=s={SIZE}:r=25:d={seconds}"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    return make("", "q.mp4", *inputs, "-c:v", "libx264", "-preset", "ultrafast", *more)


def ends(clips: list[PlannedClip]) -> list[int]:
    return [clip.part.end_frame for clip in clips]


def cut(
    path: Path,
    kind: Cut,
    part_s: str = "4",
    time_ranges: Any = WHOLE,  # noqa: ANN401 # passed on
    **more: Any,  # noqa: ANN401 # passed on
) -> list[int]:
    """Plan the parts of a file that needs no preparation; return where they end."""
    watch = PrepareWatch("ffmpeg", **more)
    return ends(plan_cuts(probe(path), path, time_ranges, Fraction(part_s), kind, watch))


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-bf", "3", "-g", "250"),
        ("-g", "1"),
        ("-bsf:v", "h264_metadata=matrix_coefficients=8"),
    ],
)
def test_scene_changes_in_the_last_quarter(make: Make, options: tuple[str, ...]) -> None:
    # In reach of parts of 4 s: 90, then 90 + 83; the change at 213 is too early, 273 is too late.
    path = shots(make, [90, 83, 40, 60, 40], *options)
    assert cut(path, Cut.SCENE) == [90, 173, 273, 313]


@pytest.mark.parametrize("colour", ["white", "black"])
@pytest.mark.parametrize(("first", "last"), [(82, 82), (84, 86), (73, 75), (98, 100)])
def test_flash_is_no_scene_change(make: Make, colour: str, first: int, last: int) -> None:
    """The pictures before and after it are alike; the shot ends at frame 92."""
    flash = f"drawbox=c={colour}:t=fill:enable='between(n,{first},{last})'"
    inputs = [word for kind in ("testsrc2", "smptebars") for word in ("-f", "lavfi", "-i", kind)]
    inputs = [f"{word}=s={SIZE}:r=25" if word[0] in "st" else word for word in inputs]
    shots = f"[0]trim=end_frame=92[a];[1]trim=end_frame=60[b];[a][b]concat,{flash}"
    path = make("", "f.mp4", *inputs, "-filter_complex", shots, "-c:v", "libx264")
    assert cut(path, Cut.SCENE)[0] == 92


def test_the_clearest_of_several_changes(make: Make) -> None:
    """A dissolve from dark grey to black and a cut from black to white are both in reach."""
    grey, white = f"color=0x303030:s={SIZE}:r=25:d=3.4", f"color=white:s={SIZE}:r=25:d=4"
    black = f"color=black:s={SIZE}:r=25:d=0.4"
    inputs = [word for each in (grey, black, white) for word in ("-f", "lavfi", "-i", each)]
    path = make("", "c.mp4", *inputs, "-filter_complex", "[0][1][2]concat=n=3")
    assert cut(path, Cut.SCENE) == [95, 195]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([25, 65, 95, 65], [90, 185, 250]),  # the picture before is stored long before the window
        ([80, 10, 85], [90, 175]),  # the second change is the clearer one
        ([80, 1, 94], [81, 175]),
    ],
)
def test_change_after_a_picture_that_stood_still(
    make: Make, shown: list[int], expected: list[int]
) -> None:
    """Slides in a file of variable rate: a picture is stored once, however long it is shown."""
    colours = ["black", "0x404040", "white", "blue"]
    changes, chains = [sum(shown[:index]) for index in range(len(shown) + 1)], ""
    for index, frames in enumerate(shown):
        chains += f"color={colours[index]}:s={SIZE}:r=25,trim=end_frame={frames}[v{index}];"
    joined = "".join(f"[v{index}]" for index in range(len(shown)))
    stored = "+".join(f"eq(n,{frame})" for frame in (*changes[:-1], 1, 2, changes[-1] - 1))
    graph = f"{chains}{joined}concat=n={len(shown)},setpts=N/25/TB,select='{stored}'"
    encode = ["-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "ultrafast"]
    path = make("", "h.mkv", "-filter_complex", graph, *encode)
    assert (probe(path).frame_rate, probe(path).frame_count) == (25, changes[-1])
    assert cut(path, Cut.SCENE) == expected


@pytest.mark.parametrize("kind", ["testsrc2", "mandelbrot"])
def test_motion_is_no_scene_change(make: Make, kind: str) -> None:
    path = make(f"-f lavfi -i {kind}=s={SIZE}:r=25 -t 10 -vf noise=alls=20:allf=t", "m.mp4")
    assert cut(path, Cut.SCENE) == [100, 200, 250]


def test_scenes_of_a_transport_stream_with_large_time_stamps(
    make: Make, prepared: Callable[[Path], tuple[Source, Path]]
) -> None:
    path = shots(make, [90, 83, 60], "-output_ts_offset", "3600", name="s.ts")
    source, path = prepared(path)
    clips = plan_cuts(source, path, WHOLE, Fraction(4), Cut.SCENE, PrepareWatch("ffmpeg"))
    assert ends(clips) == [90, 173, 233]


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "flac", "libopus"])
def test_silence_in_the_last_quarter(make: Make, codec: str) -> None:
    path = gaps(make, [(3.4, 3.8), (6.9, 7.5), (8.0, 8.2), (11.95, 12.5)], "-c:a", codec,
                "-strict", "-2")  # fmt: skip
    parts = cut(path, Cut.SILENCE)
    assert parts[0] == pytest.approx(90, abs=2)  # the middle of 3.4 … 3.8 s
    assert 25 * 6.9 < parts[1] < 25 * 7.5
    # Of the next window (found[1] + 3 … 4 s) nothing is silent: anywhere in it is right.
    assert 75 <= parts[2] - parts[1] <= 100
    assert parts[-1] == 600
    assert all(part < following for part, following in pairwise(parts))


def test_without_silence_the_quietest_moment_is_cut(make: Make) -> None:
    """Where nothing is silent, the quietest counts: here a tone that is 20 dB lower for a while."""
    sound = "sine=f=300:d=10,volume=0.1:enable='between(t,3.3,3.7)'"
    picture = f"testsrc2=s={SIZE}:r=25:d=10"
    path = make("", "l.mp4", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound)
    assert cut(path, Cut.SILENCE)[0] == pytest.approx(25 * 3.5, abs=2)


@pytest.mark.parametrize("inaudible", ["0.3", "0.3*sin(4*PI*t)", "0.2-0.1*t/8"])
def test_what_nobody_hears_does_not_hide_a_pause(make: Make, inaudible: str) -> None:
    """An offset of the recorder, or rumble of wind, is louder here than the speech."""
    speech = "0.05*sin(880*PI*t)*not(between(t,3.05,3.35)+between(t,6.7,7))"
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s={SIZE}:r=25:d=8"]
    inputs += ["-f", "lavfi", "-i", f"aevalsrc=exprs='{inaudible}+{speech}':s=48000:d=8"]
    path = make("", "o.mkv", *inputs, "-c:v", "libx264", "-c:a", "pcm_s16le")
    assert cut(path, Cut.SILENCE) == pytest.approx([25 * 3.2, 25 * 6.85, 200], abs=2)


@pytest.mark.parametrize("kind", SEARCHED)
def test_without_anything_to_find_parts_end_at_the_limit(make: Make, kind: Cut) -> None:
    options = "-c:v libx264 -g 100000 -sc_threshold 0 -preset ultrafast"
    path = make(f"-f lavfi -i color=gray:s={SIZE}:r=25:d=9.5 {options}", "n.mp4")
    assert cut(path, kind) == [100, 200, 238]


@pytest.mark.parametrize("kind", SEARCHED)
def test_remainder_is_not_shorter_than_a_second(make: Make, kind: Cut) -> None:
    options = "-c:v libx264 -g 100000 -sc_threshold 0 -preset ultrafast"
    path = make(f"-f lavfi -i color=gray:s={SIZE}:r=25:d=8.2 {options}", "r.mp4")
    assert cut(path, kind) == [100, 153, 205]


def test_key_frames_make_parts_that_are_copied_whole(
    numbered: Make, copy: Callable[..., Any], joined_numbers: Callable[[list[Any]], list[int]]
) -> None:
    options = "-force_key_frames 1.2,2.08,3.6,5,6.8,8.2 -g 250 -sc_threshold 0 -bf 2"
    tags = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
    path = numbered(250, "25", "k.mp4", f"{options} {tags}", size=(640, 360))
    parts = cut(path, Cut.KEYFRAME, "2.6")
    assert parts == [52, 90, 125, 170, 205, 250]
    source = probe(path)
    clips = plan_cuts(source, path, WHOLE, Fraction("2.6"), Cut.KEYFRAME, PrepareWatch("ffmpeg"))
    made = [copy(source, path, clip.part) for clip in clips]
    assert joined_numbers(made) == list(range(250))
    for clip in made:
        with open_source(path, source.demuxer) as container:
            assert find_span(container, clip.edit).part == clip.edit.part


def test_key_frames_of_open_gops_are_not_cuts(make: Make) -> None:
    """Their first pictures refer to the group before: cut there, nothing could be copied."""
    options = "-c:v libx264 -preset fast -bf 3 -g 25 -sc_threshold 0 -x264-params open-gop=1"
    path = make(f"-f lavfi -i testsrc2=s={SIZE}:r=25:d=10 {options}", "o.mp4")
    assert cut(path, Cut.KEYFRAME) == [100, 200, 250]


@pytest.mark.parametrize("kind", SEARCHED)
def test_time_ranges_in_any_order(make: Make, kind: Cut) -> None:
    path = gaps(make, [(3.4, 3.8), (14, 14.5)], "-g", "25")
    time_ranges = [TimeRange(Fraction(12), Fraction(18)), TimeRange(Fraction(0), Fraction("6.5"))]
    clips = plan_cuts(probe(path), path, time_ranges, Fraction(4), kind, PrepareWatch("ffmpeg"))
    assert [clip.time_range for clip in clips] == [0, 0, 1, 1]
    assert [clip.part.start_frame for clip in clips][::2] == [300, 0]
    assert ends(clips)[1::2] == [450, 163]


def test_damaged_pictures_are_passed_over(make: Make) -> None:
    path = shots(make, [90, 83, 60])
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 2000] = bytes(2000)
    damaged = path.with_name("damaged.mp4")
    damaged.write_bytes(data)
    source = probe(path)  # of the whole file: both have the same packets
    clips = plan_cuts(source, damaged, WHOLE, Fraction(4), Cut.SCENE, PrepareWatch("ffmpeg"))
    assert ends(clips)[-1] == 233
    assert all(clip.part.frame_count <= 100 for clip in clips)


def test_too_many_parts_and_nothing_left_behind(make: Make) -> None:
    path = make(f"-f lavfi -i color=gray:s={SIZE}:r=25:d=600 -c:v libx264 -g 25", "t.mp4")
    with pytest.raises(EditError) as caught:
        cut(path, Cut.KEYFRAME, "2", [TimeRange()] * 80)
    assert caught.value.code == "edit_too_many_parts"
    assert not path.with_name(f"{path.name}.cuts").exists()


def test_cutting_stops_on_request(make: Make) -> None:
    path = shots(make, [500])
    with pytest.raises(Stopped):
        cut(path, Cut.SCENE, should_stop=lambda: True)
    assert not path.with_name(f"{path.name}.cuts").exists()


def test_progress_reaches_the_end(make: Make) -> None:
    seen: list[float] = []
    cut(shots(make, [300, 300]), Cut.SCENE, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        '{"parts": null}',
        '{"parts": []}',
        '{"parts": [[0, 100, 0]]}',
        '{"parts": [[0, 100, 0], [99, 250, 0]]}',
        '{"parts": [[0, 200, 0], [200, 250, 0]]}',
        '{"parts": [[0, 0, 0], [0, 100, 0], [100, 200, 0], [200, 250, 0]]}',
        '{"parts": [[0, 100, 0], [100, 200, 0], [200, 251, 0]]}',
        '{"parts": [[0, 100, 0], [100, 200, 0], [200, 250, 1]]}',
        '{"parts": [[0, 100, 0], [100, 200, 0], [200, 250, 0], [0, 100, 0]]}',
        '{"parts": [["0", "100", 0]]}',
        '{"parts": [[0, 100]]}',
        "[" * 100_000,
        '{"parts": [[0, 100, 0], [100, 200, 0], [200, 250, 0]]}' + " " * MAX_RESPONSE_BYTES,
    ],
    ids=lambda answer: answer[:60],
)
def test_invalid_replies_of_the_child_are_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    path = make(f"-f lavfi -i color=gray:s={SIZE}:r=25:d=10", "a.mp4")

    def answered(_: list[str], **__: object) -> None:
        path.with_name(f"{path.name}.cuts").write_text(answer)

    monkeypatch.setattr(prepare, "run_encoder", answered)
    with pytest.raises(EncodeFailed) as caught:
        cut(path, Cut.SCENE)
    assert caught.value.code == "encoder_failed"


def test_frames_of_scene_cuts_are_rendered_once_each(
    make: Make, render: Callable[..., Any]
) -> None:
    """The last frame of a part and the first of the next are neighbours: counted in the clips."""
    path = shots(make, [90, 83, 60])
    source = probe(path)
    clips = plan_cuts(source, path, WHOLE, Fraction(4), Cut.SCENE, PrepareWatch("ffmpeg"))
    made = [render(source, path, clip.part) for clip in clips]
    counts = []
    for clip in made:
        with av.open(str(clip.path)) as container:
            counts.append(sum(1 for _ in container.decode(video=0)) - 2 * clip.edit.frames_before)
    assert counts == [90, 83, 60]
    assert all(isinstance(clip.part, FrameRange) for clip in clips)
