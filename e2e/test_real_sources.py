"""Sources as recorders, broadcasters and editors write them.

Each comes out right, or is refused for its reason.

The right frames and moments are those that the sources were made with.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from blackbox import sources
from blackbox.client import Api, Task
from blackbox.clips import SOUND_HZ, Clip, decode_clip, levels_of, onsets
from numpy.typing import NDArray

from idrl_testing import site as web_site
from idrl_testing.numbered import number_in

LOGO_S = 1
# What audio codecs put before their first block is less than a block.
CODEC_DELAY_S = 0.05


@dataclass(frozen=True)
class Right:
    """What a clip must hold, without the logo: the number of each frame, the moments of clicks."""

    make: sources.Make
    numbers: Iterable[int] | None = None
    clicks_s: tuple[float, ...] = ()


GAP = [*range(20), *[19] * 25, *range(45, 75)]
ACCEPTED = {
    "size changes": Right(sources.changing_size, range(50)),
    "sound changes": Right(sources.changing_sound, range(50), (0.1, 1.1)),
    "edit list": Right(sources.edit_list, range(13, 43), (1.1 - 13 / sources.RATE,)),
    "joined segments": Right(sources.joined_segments, range(50)),
    "stamps ahead": Right(sources.stamps_five_hours_ahead, range(50)),
    "one gap": Right(sources.one_gap, GAP),
    "mirrored": Right(sources.mirrored),
    "music over a still": Right(sources.music_over_a_still, [5] * 75, (0.1, 1.1, 2.1)),
    "live, constant rate": Right(sources.live_constant_rate, range(30), (0.1, 1.1)),
    "late fragments": Right(sources.late_fragments, range(50), (0.1, 1.1)),
    "sound never comes": Right(sources.sound_that_never_comes, range(50)),
    "open group": Right(sources.open_group),
    "leading pictures": Right(sources.leading_pictures),
    "mono": Right(sources.mono),
    "turns interlaced": Right(sources.turns_interlaced),
    "one damaged frame": Right(sources.one_damaged_frame),
    "wmv": Right(sources.encoded_as("s.wmv", "-c:v wmv2 -q:v 2 -c:a wmav2"), range(50), (0.1, 1.1)),
    "mpg": Right(sources.encoded_as("s.mpg", f"{sources.MPEG2} -c:a mp2"), range(50), (0.1, 1.1)),
    "ogv": Right(
        sources.encoded_as("s.ogv", "-c:v libtheora -q:v 10 -c:a libvorbis"),
        range(50),
        (0.1, 1.1),
    ),
    "gif": Right(sources.encoded_as("s.gif", "-c:v gif"), range(50)),
    "within a packet": Right(sources.within_a_packet, range(50), (0.1, 1.1)),
    "one frame": Right(sources.one_frame_without_a_duration, [0]),
    "several tracks": Right(sources.several_tracks),
}
REFUSED = {
    "scrambled": (sources.scrambled_after_a_clear_start, "source_protected"),
    "codec": (sources.unlisted_codec, "source_codec_unsupported"),
    "mxf": (sources.material_exchange, "source_format_unsupported"),
}


@dataclass(frozen=True)
class Posted:
    """The sources on disk, and their tasks, all posted at the start to be worked on in parallel."""

    api: Api
    files: dict[str, Path]
    ids: dict[str, str]

    def task(self, name: str) -> Task:
        return self.api.finish(self.ids[name])

    def content(self, name: str) -> bytes:
        task = self.task(name)
        assert task["status"] == "done", task["error"]
        assert len(task["parts"]) == 1
        return self.api.download(task["parts"][0]).content


@pytest.fixture(scope="module")
def posted(
    sign_up: Callable[[], Api], site: web_site.Site, tmp_path_factory: pytest.TempPathFactory
) -> Posted:
    source_maker = sources.SourceMaker(tmp_path_factory.mktemp("real"))
    makers = {name: right.make for name, right in ACCEPTED.items()}
    makers |= {name: make for name, (make, _) in REFUSED.items()}
    posted = Posted(sign_up(), {}, {})
    for name, make in makers.items():
        posted.files[name] = make(source_maker)
        url = site.add(f"real-{name.replace(' ', '-')}", posted.files[name].read_bytes())
        posted.ids[name] = posted.api.submit(url)["task_id"]
    return posted


@pytest.mark.parametrize("name", [name for name, right in ACCEPTED.items() if right.numbers])
def test_every_frame_is_in_its_place(posted: Posted, name: str) -> None:
    clip = decode_clip(posted.content(name))
    assert clip.frame_rate == sources.RATE
    assert _numbers(clip) == list(ACCEPTED[name].numbers or ())
    assert abs(clip.video_s - clip.audio_s) <= 0.05


@pytest.mark.parametrize("name", [name for name, right in ACCEPTED.items() if right.clicks_s])
def test_sound_is_in_its_place(posted: Posted, name: str) -> None:
    moments = [moment - LOGO_S for moment in onsets(decode_clip(posted.content(name)))]
    assert moments == pytest.approx(ACCEPTED[name].clicks_s, abs=CODEC_DELAY_S)


def test_a_mirror_is_applied_to_every_frame(posted: Posted) -> None:
    frames = decode_clip(posted.content("mirrored")).frames[sources.RATE : -sources.RATE]
    assert [number_in(np.fliplr(frame)) for frame in frames] == list(range(50))


def test_sound_that_never_comes_is_silence(posted: Posted) -> None:
    clip = decode_clip(posted.content("sound never comes"))
    assert np.abs(clip.sound).max() < 0.01


def test_an_open_group_begins_with_picture_and_sound_together(posted: Posted) -> None:
    clip = decode_clip(posted.content("open group"))
    numbers = _numbers(clip)
    assert numbers == list(range(numbers[0], 100))
    assert 40 <= numbers[0] < 62
    moments = [moment - LOGO_S + numbers[0] / sources.RATE for moment in onsets(clip)]
    assert moments == pytest.approx([2.1, 3.1][-len(moments) :], abs=CODEC_DELAY_S)
    assert moments


def test_leading_pictures_are_those_that_ffmpeg_shows(posted: Posted) -> None:
    decoded = sources.SourceMaker(posted.files["leading pictures"].parent / "decoded")
    decoded.folder.mkdir()
    shown = decoded.make(
        f"-i {posted.files['leading pictures']} -fps_mode passthrough -c:v ffv1", "shown.mkv"
    )
    expected = [number_in(frame) for frame in _full_frames(shown.read_bytes())]
    assert _numbers(decode_clip(posted.content("leading pictures"))) == expected
    assert len(expected) >= 25


def test_mono_keeps_its_level(posted: Posted) -> None:
    levels = levels_of(posted.content("mono"), LOGO_S + 0.5, LOGO_S + 1.5)
    # ffmpeg's sine has an amplitude of 1/8.
    assert levels == pytest.approx([0.125 / np.sqrt(2)] * 2, rel=0.03)


def test_fields_are_made_frames_wherever_they_begin(posted: Posted) -> None:
    source = _full_frames(posted.files["turns interlaced"].read_bytes())
    clip = _full_frames(posted.content("turns interlaced"))[sources.RATE : -sources.RATE]
    assert max(_comb(frame) for frame in source) > 3
    assert max(_comb(frame) for frame in clip) < 1.5
    assert len(clip) == len(source) == 100


def test_a_damaged_frame_is_concealed_and_counted(posted: Posted) -> None:
    numbers = _numbers(decode_clip(posted.content("one damaged frame")))
    assert len(numbers) == 50
    # The groups of ten on both sides of the damaged frame's are whole.
    assert numbers[:25] == list(range(25))
    assert numbers[30:] == list(range(30, 50))
    assert posted.task("one damaged frame")["parts"][0]["concealed_frames"] == 1


def test_default_sound_track_is_used(posted: Posted) -> None:
    sound = decode_clip(posted.content("several tracks")).sound
    begin = int((LOGO_S + 0.25) * SOUND_HZ)
    spectrum = np.abs(np.fft.rfft(sound[begin : begin + SOUND_HZ // 2]))
    assert 2 * int(spectrum.argmax()) == pytest.approx(2000, abs=5)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_takes_one_attempt(posted: Posted, name: str) -> None:
    task = posted.task(name)
    assert (task["status"], task["error"]["code"]) == ("failed", REFUSED[name][1])
    events = posted.api.get(f"/tasks/{task['task_id']}/events").json()
    kinds = [event["kind"] for event in events]
    assert kinds.count("claimed") == 1
    assert "retried" not in kinds


def _numbers(clip: Clip) -> list[int]:
    logo_frames = round(LOGO_S * clip.frame_rate)
    return [number_in(frame) for frame in clip.frames[logo_frames:-logo_frames]]


def _full_frames(data: bytes) -> list[NDArray[np.uint8]]:
    """Return the frames of a video in their own size, grey."""
    with av.open(io.BytesIO(data), "r") as container:
        return [
            np.asarray(frame.to_ndarray(format="gray"), np.uint8)
            for frame in container.decode(video=0)
        ]


def _comb(frame: NDArray[np.uint8]) -> float:
    """Return how much more lines differ from their neighbours than from those of their own field.

    About 1 for a whole frame, far more where two fields show two moments.
    """
    lines = frame.astype(np.int16)
    of_neighbours = np.abs(lines[1:-1] - lines[:-2]).mean()
    of_a_field = np.abs(lines[2:] - lines[:-2]).mean()
    return float((of_neighbours + 1) / (of_a_field + 1))
