"""Renders a part with one ffmpeg filter graph: the default renderer."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from worker_server.media.model import colour, deinterlacing
from worker_server.media.model.edit import AUDIO_RATE, MAX_SOUND_DRIFT_S, SEEK_MARGIN_S, PartEdit
from worker_server.media.model.frame_grid import SEEK_OFFSET_FRAMES
from worker_server.media.model.geometry import Fit
from worker_server.media.model.plan import FrameRange
from worker_server.media.process.ffmpeg_command import PROGRESS, quiet_ffmpeg
from worker_server.media.rendering.brand_graph import (
    Layer,
    background,
    layers,
    padding,
    text,
    watermark_input,
    with_bumpers,
    with_sound,
    with_watermark,
)
from worker_server.media.rendering.ffmpeg_args import (
    BLUR_SIGMA,
    ENCODE_SOUND,
    background_box,
    blurred_size,
    clip_output,
    encode_video,
    mp4_output,
    source_input,
)

# One frame for rounding of times, one for the frame before the first.
_MARGIN_FRAMES = 2
# x264's mbtree codes a still picture finer the longer it is shown; this one it sees for one frame.
# A share of the range of QP, 51.
_STILL_QP_OFFSET = "-1/6"
# Decoders whose samples may be infinite, no numbers, or far beyond full scale.
_FLOAT_SOUND = {"pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "wavpack"}
# Pre-roll of the audio decoder where the probe did not compare the codec's own with the file: two
# packets of AAC at 8 kHz last 256 ms, and MP3 refers as far back.
_SOUND_S = Fraction(3, 10)
# Of files whose key frames' DTS leave the codec its pre-roll: an AAC packet has 21 ms, one of
# HE-AAC 46 ms.
_LEAST_SOUND_S = Fraction(1, 20)


class FfmpegRenderer:
    """One process per part; frames never leave ffmpeg. `conceals`: see `Renderer`."""

    rendered_by: Literal["encode"] = "encode"

    def __init__(self, ffmpeg_path: str, *, conceals: bool = False) -> None:
        self.ffmpeg_path = Path(ffmpeg_path)
        self.conceals = conceals

    def can_render(self, edit: PartEdit) -> bool:  # noqa: ARG002 # required by `Renderer`
        """Return true: ffmpeg renders any edit."""
        return True

    def command(self, edit: PartEdit, output: Path) -> list[str]:
        """Return the command that writes the clip to `output`."""
        # Times stay those of the file (copyts), so that the frame grid is the same from wherever
        # reading starts.
        read = source_input(edit, *_seek(edit))
        shown = layers(edit, edit.part.frame_count)
        video = _video(edit, shown, conceals=self.conceals)
        return [
            *quiet_ffmpeg(str(self.ffmpeg_path), stops_at_errors=not self.conceals),
            *PROGRESS,
            "-copyts",
            *_filter_threads(edit),
            *read,
            *_bumper_inputs(edit, shown),
            *watermark_input(edit),
            *_graph([*video, *_audio(edit, shown)], "v", "a"),
            # A key frame is nearly free at a hard cut, and lets players and verification seek past
            # the logo.
            *_key_frame_at(edit.frames_before),
            *clip_output(edit, output),
        ]


def rgb_command(edit: PartEdit, ffmpeg_path: str) -> list[str]:
    """Return the command that writes a part's frames in BT.709, upright and uncropped, as RGB24."""
    filters = [
        *colour.plain_tags(edit.source),
        _shift("setpts", edit.source.origin_s),
        *_deinterlacing(edit),
        *_grid(edit),
        colour.to_bt709(edit.source),
        "format=rgb24",
    ]
    graph = _graph([f"[0:{edit.source.video_index}]{','.join(filters)}[v]"], "v")
    read = source_input(edit, *_seek(edit))
    write = ["-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]
    return [*quiet_ffmpeg(ffmpeg_path), "-copyts", *read, *graph, *write]


def encode_edges_command(
    edit: PartEdit,
    copied: FrameRange,
    options: list[str],
    output: Path,
    ffmpeg_path: str,
    *,
    still: bool = False,
) -> list[str]:
    """Return the command that writes the clip without the frames `copied` and without sound.

    The stream has an IDR picture at its start and after the left-out frames, and nowhere else. With
    `still` the edit has one bumper, of one frame after the part: an IDR picture too.
    """
    first_edge, last_edge = _edges(edit, copied)
    first, last = first_edge.part.frame_count, last_edge.part.frame_count
    shown = layers(edit, 0 if still else first + last)
    read = [*source_input(edit, *_seek(edit)), *_bumper_inputs(edit, shown)]
    read += source_input(last_edge, *_seek(last_edge)) if last else []
    chains = _edges_chains(first_edge, last_edge, shown)
    video = _joined_still(edit, chains, shown) if still else _edges_video(edit, chains, shown)
    restarts = [edit.frames_before + first, *([first + last] if still else [])]
    write = [*_key_frame_at(*restarts), "-forced-idr", "1"]
    write += [*options, *encode_video(edit), *mp4_output(output)]
    threads, graph = _filter_threads(edit), _graph(video, "v")
    return [*quiet_ffmpeg(ffmpeg_path), *PROGRESS, "-copyts", *threads, *read, *graph, *write]


def encode_sound_command(edit: PartEdit, output: Path, ffmpeg_path: str) -> list[str]:
    """Return the command that writes the clip's sound alone: the same samples as beside pictures.

    It reads one picture too: in Matroska ffmpeg seeks elsewhere if no video stream is read, and the
    sound would be off by a millisecond. Decoders run ahead of filters, and the pictures after the
    first may be damaged, so only key frames are decoded.
    """
    shown = layers(edit, edit.part.frame_count)
    read = source_input(edit, *_seek(edit), "-skip_frame:v", "nokey")
    read += _bumper_inputs(edit, shown)
    first_picture = f"[0:{edit.source.video_index}]trim=end_frame=1,nullsink"
    graph = _graph([first_picture, *_audio(edit, shown)], "a")
    write = [*ENCODE_SOUND, *mp4_output(output)]
    return [*quiet_ffmpeg(ffmpeg_path), "-copyts", *read, *graph, *write]


def _graph(chains: list[str], *outputs: str) -> list[str]:
    """Return the arguments that filter, and write the outputs of these names."""
    maps = [word for output in outputs for word in ("-map", f"[{output}]")]
    return ["-filter_complex", ";".join(chains), *maps]


def _filter_threads(edit: PartEdit) -> list[str]:
    threads = edit.profile.threads
    return ["-filter_complex_threads", str(threads)] if threads else []


def _key_frame_at(*frames: int) -> list[str]:
    return ["-force_key_frames", "expr:" + "+".join(f"eq(n,{frame})" for frame in frames)]


def _edges(edit: PartEdit, copied: FrameRange) -> tuple[PartEdit, PartEdit]:
    """Return the edits of the frames before and after the copied ones; each may be empty."""
    first_edge = replace(edit.part, end_frame=copied.start_frame)
    last_edge = replace(edit.part, start_frame=copied.end_frame)
    return replace(edit, part=first_edge), replace(edit, part=last_edge)


def _edges_chains(first_edge: PartEdit, last_edge: PartEdit, shown: list[Layer]) -> list[str]:
    """Return the chains of the edges that have frames."""
    numbered = ((0, first_edge), (1 + len(shown), last_edge))
    return [_content(end, number) for number, end in numbered if end.part.frame_count]


def _edges_video(edit: PartEdit, chains: list[str], shown: list[Layer]) -> list[str]:
    if not chains:
        return with_bumpers(edit, _background(edit), shown)
    if len(chains) == 1:
        return with_bumpers(edit, chains[0] + padding(edit), shown)
    joined = _concatenated(edit, len(chains)) + padding(edit)
    return [*_labelled(chains), *with_bumpers(edit, joined, shown)]


def _joined_still(edit: PartEdit, chains: list[str], shown: list[Layer]) -> list[str]:
    """Return the chains of the edges and, after them, the bumper's picture."""
    bumper = with_bumpers(edit, _background(edit), shown, "[still]")
    finer = f"[still]addroi=0:0:iw:ih:{_STILL_QP_OFFSET}"
    joined = f"{_concatenated(edit, len(chains) + 1)}[v]"
    return [*bumper, *_labelled([*chains, finer]), joined]


def _labelled(chains: list[str]) -> list[str]:
    return [f"{chain}[end{number}]" for number, chain in enumerate(chains)]


def _concatenated(edit: PartEdit, count: int) -> str:
    labels = "".join(f"[end{number}]" for number in range(count))
    # concat outputs time stamps in microseconds; settb and setpts number the frames again.
    return f"{labels}concat=n={count}:v=1:a=0,settb={text(1 / edit.frame_rate)},setpts=N"


def _background(edit: PartEdit) -> str:
    """Return the input of both bumpers where no encoded frame is between them."""
    options = f"c={background(edit)}:s={edit.width}x{edit.height}:r={text(edit.frame_rate)}"
    frames = edit.frames_before + edit.frames_after
    return f"color={options},trim=end_frame={frames},format=yuv420p,{colour.TAGS},setsar=1"


def _seek(edit: PartEdit) -> list[str]:
    # A part after the end of the video shows its last frame, so seek to that.
    start_s = min(edit.part.start_frame, edit.last_picture) / edit.frame_rate - _margin_s(edit)
    if not edit.part.start_frame or start_s <= 0:
        return []
    return [
        "-noaccurate_seek",
        "-seek_timestamp",
        "1",
        "-ss",
        f"{float(edit.source.origin_s + start_s):.6f}",
    ]


def _margin_s(edit: PartEdit) -> Fraction:
    """Return how many seconds before the part to seek to.

    Hardly any in an indexed MP4, where ffmpeg seeks in each stream by its own index; below 0 is
    just after the start of the part's first frame, so that rounding cannot miss it.
    """
    source, frame_s = edit.source, 1 / edit.frame_rate
    if source.demuxer != "mov" or not source.is_indexed:
        return SEEK_MARGIN_S + source.reorder_delay_s
    # In MP4 sound is read from the key frame's DTS on: that must leave the decoder its pre-roll.
    has_sound = source.keyframe_reorder_delay_s >= _LEAST_SOUND_S or not source.has_audio
    if source.seeks_by_pts and not source.is_vfr and has_sound:
        return -SEEK_OFFSET_FRAMES * frame_s
    margin_s = source.reorder_delay_s + _MARGIN_FRAMES * frame_s
    return max(margin_s, _SOUND_S) if source.has_audio else margin_s


def _bumper_inputs(edit: PartEdit, shown: list[Layer]) -> list[str]:
    return [argument for layer in shown for argument in layer.source(edit.frame_rate)]


def _video(edit: PartEdit, shown: list[Layer], *, conceals: bool) -> list[str]:
    """Return the chains of `[v]`: the part on its grid, in size and colour, and the bumpers."""
    content = _content(edit, 0, conceals=conceals)
    first, main = with_watermark(edit, content, 1 + len(shown))
    return [*first, *with_bumpers(edit, main + padding(edit), shown)]


def _content(edit: PartEdit, number: int, *, conceals: bool = False) -> str:
    """Return the chain that makes the part's frames from the input of this number."""
    shift = _shift("setpts", edit.source.origin_s)
    filters = [*colour.plain_tags(edit.source), shift, *_deinterlacing(edit)]
    grid = _grid(edit, conceals=conceals)
    opaque = _on_background(edit, number) if colour.has_alpha(edit.source) else []
    picture = [*opaque, *_picture(edit), *_canvas(edit, number)]
    tags = [colour.TAGS, colour.WITHOUT_SIDE_DATA, "setsar=1"]
    chain = ",".join([*filters, *grid, *picture, *tags])
    return f"[{number}:{edit.source.video_index}]{chain}"


def _deinterlacing(edit: PartEdit) -> list[str]:
    bwdif = f"{deinterlacing.FILTER}={deinterlacing.OPTIONS}"
    return [bwdif] if edit.source.interlaced else []


def _on_background(edit: PartEdit, number: int) -> list[str]:
    """Show the background where the source is transparent; from here on pictures are RGB."""
    over, behind, filled = (f"[{name}{number}]" for name in ("over", "behind", "filled"))
    fill = f"drawbox=color={background(edit)}:t=fill:replace=1"
    return [
        f"scale={colour.scale_input(edit.source)},format=rgba",
        f"split{over}{behind};{behind}{fill}{filled};{filled}{over}overlay=format=rgb",
    ]


def _grid(edit: PartEdit, *, conceals: bool = False) -> list[str]:
    """Put frames on the constant grid (frame k has time stamp k), and keep the part's."""
    part, source = edit.part, edit.source
    # eof_action=pass keeps a short last frame; `trim` removes what is too long.
    filters = [f"fps={text(edit.frame_rate)}:round=near:eof_action=pass"]
    if conceals:
        # Undecodable frames are replaced by the nearest decodable one, at both ends too.
        filters[0] += f":start_time={float(part.start_frame / edit.frame_rate):.6f}"
        filters.append(f"tpad=stop_mode=clone:stop={part.frame_count}")
    # Hold the last frame only to the end of the part: a damaged end must not freeze unnoticed.
    held_frames = part.end_frame - 1 - edit.last_picture
    if not conceals and (held_frames >= 0 or part.end_frame == source.frame_count):
        filters.append(f"tpad=stop_mode=clone:stop={max(0, held_frames) + 1}")
    return [
        *filters,
        f"trim=start_pts={part.start_frame}:end_pts={part.end_frame}",
        f"setpts=PTS-{part.start_frame}",
    ]


def _picture(edit: PartEdit) -> list[str]:
    """Crop, scale and convert colours, each only if the source needs it."""
    filters = []
    crop_w, crop_h, left, top = edit.kept
    if (crop_w, crop_h) != edit.source.upright_size:
        filters.append(f"crop={crop_w}:{crop_h}:{left}:{top}:exact=1")
    width, height = edit.content[:2]
    resize = (crop_w, crop_h) != (width, height)
    if colour.needs_zimg(edit.source):
        # Scale down first: tone mapping is the most expensive step.
        filters += [f"scale={width}:{height}"] if resize else []
        return [*filters, colour.to_bt709(edit.source)]
    if resize or colour.needs_conversion(edit.source):
        filters.append(_scale(edit))
    return filters


def _scale(edit: PartEdit) -> str:
    width, height = edit.content[:2]
    size = f"scale={width}:{height}:flags=bicubic"
    read, write = colour.scale_input(edit.source), colour.scale_output(edit.source)
    return f"{size}:{read}:{write},format=yuv420p"


def _canvas(edit: PartEdit, number: int) -> list[str]:
    """Put the picture into a frame of another shape, on a plain or a blurred background."""
    if edit.fills_frame:
        return []
    left, top = edit.content[2:]
    if edit.fit is Fit.PAD:
        place = f"{edit.width}:{edit.height}:{left}:{top}"
        # `pad` converts the RGB of the background by the picture's colour tags.
        return [colour.TAGS, f"pad={place}:color={background(edit)}"]
    sharp, soft, back = (f"[{name}{number}]" for name in ("sharp", "soft", "back"))
    overlay = f"{back}{sharp}overlay={left}:{top}:format=yuv420"
    return [f"split{sharp}{soft};{soft}{_blurred(edit)}{back};{overlay}"]


def _blurred(edit: PartEdit) -> str:
    """Return the chain from the picture to its blurred enlargement, which fills the frame.

    The blur is applied at a 16th of the width and height, so it costs a 256th of the CPU time.
    Without subsampling (4:4:4), or it would spread colours twice as far as brightness.
    """
    width, height, left, top = background_box(edit)
    small_w, small_h = blurred_size(edit)
    return (
        f"crop={width}:{height}:{left}:{top},scale={small_w}:{small_h}:flags=area,format=yuv444p"
        f",gblur=sigma={BLUR_SIGMA},scale={edit.width}:{edit.height}:flags=bilinear,format=yuv420p"
    )


def _audio(edit: PartEdit, shown: list[Layer]) -> list[str]:
    """Return the chains of `[a]`: the sound of part and bumpers, each in its place, exactly."""
    return with_sound(edit, _content_sound(edit), shown)


def _content_sound(edit: PartEdit) -> str:
    """Return the chain of the part's sound in its place, and of silence elsewhere."""
    to_length = f"apad=whole_len={edit.total_samples},atrim=end_sample={edit.total_samples}"
    if not edit.source.has_audio:
        return f"anullsrc=r={AUDIO_RATE}:cl=stereo,{to_length}"
    bumper_s = edit.frames_before / edit.frame_rate
    end_s = bumper_s + edit.part.frame_count / edit.frame_rate
    begin = edit.source.origin_s + edit.part.start_frame / edit.frame_rate - bumper_s
    cut = f"atrim=start={float(bumper_s):.6f}:end={float(end_s):.6f}"
    # async=1 fills gaps and cuts overlaps, so that sound never drifts; min_hard_comp lowers the
    # length from which it does so (0.1 s by default).
    max_drift = f"min_hard_comp={float(MAX_SOUND_DRIFT_S)}"
    resample = f"aresample={AUDIO_RATE}:async=1:{max_drift}:first_pts=0"
    chain = f"{_shift('asetpts', begin)},{cut},{_within_scale(edit)}{_stereo(edit)}{resample}"
    stereo = f"aformat=channel_layouts=stereo,{_as_played(edit)}{to_length}"
    return f"[0:{edit.source.audio_index}]{chain},{stereo}"


def _as_played(edit: PartEdit) -> str:
    """Return the filter that clips at full scale what a decoder made louder, as players do.

    ffmpeg's AAC encoder would lower each packet (21 ms) by its highest peak: by up to 4 dB in loud
    music. That is the milder fault in mixes of more channels, which exceed full scale by far.
    """
    return "asoftclip=type=hard," if edit.source.audio_channels in (1, 2) else ""


def _within_scale(edit: PartEdit) -> str:
    """Return the filter by which samples are numbers up to full scale: the encoder fails on others.

    It takes 7 ms of a second of stereo, so only sound that may need it is filtered.
    """
    if edit.source.audio_codec not in _FLOAT_SOUND:
        return ""
    return "aeval='if(isnan(val(ch)),0,clip(val(ch),-1,1))':c=same,"


def _stereo(edit: PartEdit) -> str:
    """Return the filter that copies mono to both channels: swresample would lower it by 3 dB."""
    return "pan=stereo|c0=c0|c1=c0," if edit.source.audio_channels == 1 else ""


def _shift(name: str, by_s: Fraction) -> str:
    return f"{name}='round(PTS-({text(by_s)})/TB)'"
