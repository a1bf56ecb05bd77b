"""Makes one clip by stream copy. Run by `StreamCopyRenderer`; JSON in, progress lines out.

Encoded: both bumpers, the frames before the first IDR, and the frames after the last closed-GOP
boundary; with SPS/PPS ids that the source does not use; and, beside them, the sound. Encoded and
copied pictures are muxed into one track, which is decoded once as a check.
"""

import heapq
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import av.logging
from av import AudioStream, Packet, VideoStream
from av.container import InputContainer

from worker_server.media.model.containers import open_source
from worker_server.media.model.edit import PartEdit
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.process.child import ChildLimits, guarded
from worker_server.media.process.encoder import DECLINED_STATUS
from worker_server.media.process.ffmpeg_command import local_input
from worker_server.media.process.frame_progress import report_frame
from worker_server.media.rendering.copyable_span import (
    CodedPicture,
    Span,
    copied_pictures,
    find_span,
)
from worker_server.media.rendering.ffmpeg import encode_edges_command, encode_sound_command
from worker_server.media.rendering.h264 import ParameterSets, UnsupportedStream, headers, picture
from worker_server.media.rendering.render_child import parse_argument
from worker_server.media.rendering.still_bumper import (
    SkippedPictures,
    still_bumper,
    with_one_picture,
    with_still_bumpers,
)

# Rewrite colour tags to those of encoded clips; decoding does not depend on them.
_TAGS = (
    "sample_aspect_ratio=1/1:colour_primaries=1:transfer_characteristics=1:matrix_coefficients=1:"
    "video_full_range_flag=0"
)
_MAX_SPS_ID = 31
_IP_RATIO = 1.4  # x264's default
_THREADS = 2  # whatever the profile says: the work is the same, and one clip is done sooner

AnyPacket: TypeAlias = "Packet[Any]"
Section = tuple[Iterable[CodedPicture], int]
_COPIED_SECTION = 1  # of three
_MAX_LINE_BYTES = 1000
_SHOWN = re.compile(rb"^shown=(\d+) (\d+/\d+)$")


def copy(edit: PartEdit, output: Path, ffmpeg: str) -> None:
    """Write the clip.

    Raise UnsupportedStream, FFmpegError or CalledProcessError where that cannot be done exactly.
    """
    with open_source(edit.source_path, edit.source.demuxer) as container:
        span = find_span(container, edit)
    edges, sound = output.with_suffix(".edges.mp4"), output.with_suffix(".sound.mp4")
    try:
        # ffmpeg writes progress to this process's stdout; resource limits are inherited.
        _run_together(
            _edges_command(edit, span, edges, ffmpeg), encode_sound_command(edit, sound, ffmpeg)
        )
        _join(edit, span, edges, sound, output)
    finally:
        edges.unlink(missing_ok=True)
        sound.unlink(missing_ok=True)
    _decode(edit, span, output, ffmpeg)


def _edges_command(edit: PartEdit, span: Span, output: Path, ffmpeg: str) -> list[str]:
    encoded = replace(edit, profile=replace(edit.profile, threads=_THREADS))
    bumper = still_bumper(edit, span)
    if bumper:
        encoded = with_one_picture(encoded, bumper)
    options = _options(span, starts_finer=bumper is not None)
    return encode_edges_command(
        encoded, span.part, options, output, ffmpeg, still=bumper is not None
    )


def _run_together(*commands: list[str]) -> None:
    """Run the commands side by side; raise CalledProcessError where one of them fails.

    Encoding the sound takes a quarter of the edges' time. A single ffmpeg would not encode both at
    once: it holds back the stream whose times are ahead.
    """
    with ExitStack() as stack:
        processes = []
        for command in commands:
            process = subprocess.Popen(guarded(command, ChildLimits()))
            stack.callback(_end, process)
            processes.append(process)
        for process in processes:
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, process.args)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _options(span: Span, *, starts_finer: bool) -> list[str]:
    """Return x264's options for one track with the source: unused SPS/PPS ids, the same DPB.

    With `starts_finer` the first picture of all is coded as finely as an I picture further on: x264
    applies its ratio of I and P pictures only after a P picture.
    """
    used_ids = {*span.headers["seq_parameter_set_id"], *span.headers["pic_parameter_set_id"]}
    free = set(range(1, _MAX_SPS_ID + 1)) - used_ids
    if not free:
        raise UnsupportedStream("no id is free for further parameter sets")
    # IDR pictures only where requested: two in a row must both be this encoder's.
    options = {"sps-id": min(free), "keyint": "infinite", "min-keyint": 1_000_000}
    if not span.reorder_depth:
        options["bframes"] = 0
    if starts_finer:
        options["zones"] = f"0,0,b={_IP_RATIO}"
    options["dpb-size"] = max(1, *span.headers.get("max_dec_frame_buffering", [1]), 1)
    return ["-x264-params", ":".join(f"{name}={value}" for name, value in options.items())]


def _join(edit: PartEdit, span: Span, edges: Path, sound: Path, output: Path) -> None:
    """Mux the encoded pictures, the copied pictures and the sound into one file."""
    sets, pictures = _encoded(edit, span, edges)
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with (
        open_source(edit.source_path, edit.source.demuxer) as source,
        open_source(edges, "mov") as template,
        open_source(sound, "mov") as encoded_sound,
        av.open(f"file:{output}", "w", format="mp4", options=options) as target,
    ):
        video = target.add_stream_from_template(template.streams.video[0])
        video.codec_context.extradata = sets.joined(_tagged_sets(source, edit))
        video.time_base = 1 / edit.frame_rate
        audio = target.add_stream_from_template(encoded_sound.streams.audio[0])
        sections = _sections(edit, span, pictures, copied_pictures(source, edit, span))
        delay = max(
            [span.reorder_depth, *(number - coded.frame for number, coded in enumerate(pictures))]
        )
        packets = _video_packets(_in_order(sections), delay, 1 / edit.frame_rate, video)
        for packet in heapq.merge(packets, _audio_packets(encoded_sound, audio), key=_decoded_s):
            target.mux(packet)


def _encoded(edit: PartEdit, span: Span, edges: Path) -> tuple[ParameterSets, list[CodedPicture]]:
    """Return the clip's pictures that are not copied, and their parameter sets."""
    with open_source(edges, "mov") as container:
        stream = container.streams.video[0]
        fields = headers(stream)
        _check_parameter_set_ids(fields, span)
        sets = ParameterSets.of(stream.codec_context.extradata)
        pictures = list(_encoded_pictures(container, sets, edit))
    if still_bumper(edit, span) is None:
        return sets, pictures
    skipped = SkippedPictures.with_unused_id(fields, span)
    sets = replace(sets, pps=(*sets.pps, skipped.pps))
    return sets, with_still_bumpers(pictures, skipped, edit)


def _check_parameter_set_ids(fields: dict[str, list[int]], span: Span) -> None:
    for name in ("seq_parameter_set_id", "pic_parameter_set_id"):
        if set(fields[name]) & set(span.headers[name]):
            raise UnsupportedStream("the encoder's parameter sets have the ids of the source's")


def _encoded_pictures(
    container: InputContainer, sets: ParameterSets, edit: PartEdit
) -> Iterator[CodedPicture]:
    """Yield the encoded pictures in decoding order, numbered from 0 in presentation order."""
    video = container.streams.video[0]
    for packet in container.demux(video):
        if packet.pts is not None:
            data, is_idr = picture(bytes(packet), sets)
            yield CodedPicture(
                data, frame_index(packet.pts * packet.time_base, edit.frame_rate), is_idr
            )


def _tagged_sets(container: InputContainer, edit: PartEdit) -> ParameterSets:
    """Return the source's parameter sets with the colours of a clip written into them."""
    stream = container.streams[edit.source.video_index]
    with av.open(os.devnull, "w", format="h264") as null_output:
        tagged = null_output.add_stream_from_template(stream)
        av.BitStreamFilterContext(f"h264_metadata={_TAGS}", stream, tagged)
        return ParameterSets.of_byte_stream(tagged.codec_context.extradata)


def _sections(
    edit: PartEdit, span: Span, encoded: list[CodedPicture], copied: Iterator[CodedPicture]
) -> list[Section]:
    """Return the sections of the clip in order, with the number of pictures in each."""
    before = edit.frames_before + span.part.start_frame - edit.part.start_frame
    shift, count = edit.frames_before - edit.part.start_frame, span.part.frame_count
    middle = (replace(coded, frame=coded.frame + shift) for coded in copied)
    after = (replace(coded, frame=coded.frame + count) for coded in encoded[before:])
    return [
        (encoded[:before], before),
        (middle, count),
        (after, edit.total_frames - before - count),
    ]


def _in_order(sections: list[Section]) -> Iterator[CodedPicture]:
    """Yield all pictures in decoding order.

    Raise UnsupportedStream where one is missing or there twice, or where a section does not begin
    with an IDR picture. Two of those in a row need different idr_pic_id: x264 numbers its own so.
    """
    first, follows_idr = 0, False
    for number, (pictures, count) in enumerate(sections):
        frames: set[int] = set()
        for coded in pictures:
            is_numbered = bool(frames) and number != _COPIED_SECTION
            if (coded.is_idr and follows_idr and not is_numbered) or not (coded.is_idr or frames):
                raise UnsupportedStream(
                    "a section has no IDR picture at its start, or two in a row"
                )
            frames.add(coded.frame)
            follows_idr = coded.is_idr
            yield coded
        if frames != set(range(first, first + count)):
            raise UnsupportedStream("a section lacks pictures")
        first += count


def _video_packets(
    pictures: Iterator[CodedPicture], delay: int, frame_s: Fraction, stream: VideoStream
) -> Iterator[AnyPacket]:
    for number, coded in enumerate(pictures):
        packet = Packet(coded.data)
        packet.stream, packet.time_base = stream, frame_s
        packet.pts, packet.dts, packet.duration = coded.frame, number - delay, 1
        packet.is_keyframe = coded.is_idr
        yield packet


def _audio_packets(container: InputContainer, stream: AudioStream) -> Iterator[AnyPacket]:
    for packet in container.demux(audio=0):
        if packet.pts is not None:
            packet.stream = stream
            yield packet


def _decoded_s(packet: AnyPacket) -> Fraction:
    return (packet.dts or 0) * Fraction(packet.time_base)


def _decode(edit: PartEdit, span: Span, output: Path, ffmpeg: str) -> None:
    """Decode the whole clip as a check.

    Raise UnsupportedStream at the first warning, or where the k-th frame has another time than
    place k.
    """
    reader = [ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "warning", "-nostats", "-xerror"]
    times = ["-stats_enc_pre", "pipe:1", "-stats_enc_pre_fmt", "shown={pts} {tb}"]
    # Skip deblocking: it is a fifth of the work, and cannot reveal a damaged stream.
    decoder_options = ["-threads", str(_THREADS), "-skip_loop_filter", "all"]
    command = [*reader, *local_input(output, "mov", *decoder_options), "-map", "0:v"]
    command += ["-fps_mode", "passthrough", *times, "-f", "null", "-"]
    encoded, frames = edit.total_frames - span.part.frame_count, 0
    with subprocess.Popen(
        guarded(command, ChildLimits()), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as decoder:
        for line in iter(lambda: _line_of(decoder), b""):
            if _frame_of_line(line, edit.frame_rate) != frames:
                decoder.kill()
                raise UnsupportedStream(
                    f"decoding gives for frame {frames}: {line.decode(errors='replace').strip()}"
                )
            frames += 1
            report_frame(encoded + frames * span.part.frame_count // edit.total_frames)
    if decoder.returncode or frames != edit.total_frames:
        raise UnsupportedStream(f"{frames} of {edit.total_frames} frames can be decoded")


def _frame_of_line(line: bytes, rate: Fraction) -> int | None:
    """Return the frame index in a line `shown=…`; None for any other line, which is a warning."""
    match = _SHOWN.match(line)
    return frame_index(int(match[1]) * Fraction(match[2].decode()), rate) if match else None


def _line_of(process: "subprocess.Popen[bytes]") -> bytes:
    return process.stdout.readline(_MAX_LINE_BYTES) if process.stdout else b""


def main() -> int:
    av.logging.set_level(None)
    edit, output, ffmpeg = parse_argument(sys.argv[1])
    try:
        copy(edit, output, ffmpeg)
    except (UnsupportedStream, av.error.FFmpegError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"not copied: {error}")
        return DECLINED_STATUS
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # skip interpreter shutdown, which frees objects one by one
