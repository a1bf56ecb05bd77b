"""Renders a part with one ffmpeg filter graph: the fast way, and the default."""

from fractions import Fraction
from pathlib import Path

from worker_server.media import colour
from worker_server.media.edit import AUDIO_RATE, PartEdit
from worker_server.media.encoding import (
    GROUND,
    LOGO_SHARE,
    PROGRESS,
    clip_output,
    local_input,
    quiet_ffmpeg,
    source_input,
)
from worker_server.media.geometry import crop_box
from worker_server.media.timing import place

# How far before the part reading starts: a frame may be stored up to a second away from its time on screen.
_SEEK_MARGIN_S = 1


class FfmpegRenderer:
    """One process per part; frames never leave ffmpeg."""

    def __init__(self, ffmpeg_path: str) -> None:
        self._ffmpeg = ffmpeg_path

    def command(self, edit: PartEdit, output: Path) -> list[str]:
        """Return the command that writes the clip to `output`."""
        # Times stay those of the file (copyts), so that the frame grid is the same from wherever reading starts.
        read = source_input(edit, *_seek(edit))
        rate = _text(edit.frame_rate)
        logo = local_input(edit.logo_path, "image2", "-pattern_type", "none", "-framerate", rate)
        graph = ["-filter_complex", ";".join([*_video(edit), _audio(edit)]), "-map", "[v]", "-map", "[a]"]
        threads = ["-filter_complex_threads", str(edit.profile.threads)] if edit.profile.threads else []
        return [
            *quiet_ffmpeg(self._ffmpeg),
            *PROGRESS,
            "-copyts",
            *threads,
            *read,
            *logo,
            *graph,
            *clip_output(edit, output),
        ]


def rgb_command(edit: PartEdit, ffmpeg_path: str) -> list[str]:
    """Return the command that writes the tone-mapped frames of an HDR part, upright and whole, as raw RGB."""
    filters = [_shift("setpts", edit.source.origin_s), *_grid(edit), colour.tone_map(edit.source), "format=rgb24"]
    graph = ["-filter_complex", f"[0:{edit.source.video_index}]{','.join(filters)}[v]", "-map", "[v]"]
    output = ["-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]
    return [*quiet_ffmpeg(ffmpeg_path), "-copyts", *source_input(edit, *_seek(edit)), *graph, *output]


def _seek(edit: PartEdit) -> list[str]:
    start_s = Fraction(edit.part.start_frame) / edit.frame_rate - _SEEK_MARGIN_S
    if start_s <= 0:
        return []
    return ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", f"{float(edit.source.origin_s + start_s):.6f}"]


def _video(edit: PartEdit) -> list[str]:
    """Return the chains that make `[v]`: the part on its grid, in size and colour, between two bumpers."""
    filters = [f"[0:{edit.source.video_index}]{_shift('setpts', edit.source.origin_s)}"]
    if edit.source.interlaced:
        filters.append("bwdif=mode=send_frame:deint=interlaced")
    filters += [*_grid(edit), *_picture(edit), colour.TAGS, "setsar=1"]
    if not edit.bumper_frames:
        return [",".join(filters) + "[v]"]
    bumper, end = edit.bumper_frames, edit.bumper_frames + edit.part.frame_count
    filters.append(f"tpad=start={bumper}:stop={bumper}:color=0x{GROUND:02x}{GROUND:02x}{GROUND:02x}")
    # Outside the bumpers the frames pass through untouched.
    show = f"enable='lt(n,{bumper})+gte(n,{end})'"
    overlay = f"[main][logo]overlay=x=(W-w)/2:y=(H-h)/2:format=yuv420:{show},{colour.TAGS}[v]"
    return [",".join(filters) + "[main]", _logo(edit), overlay]


def _grid(edit: PartEdit) -> list[str]:
    """Put frames on the constant grid, where frame k has time stamp k, and keep those of the part."""
    part, source = edit.part, edit.source
    filters = [f"fps={_text(edit.frame_rate)}:round=near"]
    # The last frame stays on screen to the end; no more than that, or a damaged end would freeze unnoticed.
    held = source.frame_count - 1 - place(source.last_pts_s - source.origin_s, edit.frame_rate)
    if part.end_frame == source.frame_count:
        filters.append(f"tpad=stop_mode=clone:stop={max(0, held) + 1}")
    return [*filters, f"trim=start_pts={part.start_frame}:end_pts={part.end_frame}", f"setpts=PTS-{part.start_frame}"]


def _picture(edit: PartEdit) -> list[str]:
    """Crop to 16:9, scale and convert colours, each only if the source needs it."""
    filters = []
    crop_w, crop_h, left, top = crop_box(edit.source)
    if (crop_w, crop_h) != edit.source.upright_size:
        filters.append(f"crop={crop_w}:{crop_h}:{left}:{top}:exact=1")
    resize = (crop_w, crop_h) != (edit.width, edit.height)
    if colour.is_hdr(edit.source):
        # The smaller picture first: tone mapping is the dearest step.
        filters += [f"scale={edit.width}:{edit.height}"] if resize else []
        return [*filters, colour.tone_map(edit.source)]
    if resize or colour.needs_conversion(edit.source):
        filters.append(_scale(edit))
    return filters


def _scale(edit: PartEdit) -> str:
    into = f"in_color_matrix={colour.matrix(edit.source)}:in_range={colour.colour_range(edit.source)}"
    size = f"scale={edit.width}:{edit.height}:flags=bicubic"
    return f"{size}:{into}:out_color_matrix=bt709:out_range=limited,format=yuv420p"


def _logo(edit: PartEdit) -> str:
    width, height = int(edit.width * LOGO_SHARE), int(edit.height * LOGO_SHARE)
    fit = f"scale={width}:{height}:force_original_aspect_ratio=decrease:out_color_matrix=bt709:out_range=limited"
    return f"[1:v]format=rgba,{fit},format=yuva420p,{colour.TAGS}[logo]"


def _audio(edit: PartEdit) -> str:
    """Return the chain that makes `[a]`: the part's sound where it belongs, silence elsewhere, to the sample."""
    to_length = f"apad=whole_len={edit.total_samples},atrim=end_sample={edit.total_samples}[a]"
    if not edit.source.has_audio:
        return f"anullsrc=r={AUDIO_RATE}:cl=stereo,{to_length}"
    bumper_s = edit.bumper_frames / edit.frame_rate
    end_s = bumper_s + edit.part.frame_count / edit.frame_rate
    begin = edit.source.origin_s + edit.part.start_frame / edit.frame_rate - bumper_s
    cut = f"atrim=start={float(bumper_s):.6f}:end={float(end_s):.6f}"
    # async=1 fills what is missing and cuts what is doubled, so that sound never drifts from the picture.
    resample = f"aresample={AUDIO_RATE}:async=1:first_pts=0,aformat=channel_layouts=stereo"
    return f"[0:{edit.source.audio_index}]{_shift('asetpts', begin)},{cut},{resample},{to_length}"


def _shift(name: str, by_s: Fraction) -> str:
    return f"{name}='round(PTS-({_text(by_s)})/TB)'"


def _text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
