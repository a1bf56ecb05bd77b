"""Renders one part with MoviePy.

Run by the command of `MoviePyRenderer`; JSON in, progress lines out.

`edited` is the place for effects written in Python.
"""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

# No threads for BLAS, as each core has a render process, and the project's ffmpeg, not imageio's.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["PYTHON_DOTENV_DISABLED"] = (
    "1"  # MoviePy looks for a .env, which the sandbox would refuse
)
os.environ["FFMPEG_BINARY"] = (
    json.loads(sys.argv[1])["ffmpeg"] if len(sys.argv) > 1 else "ffmpeg-imageio"
)

import av.logging
import numpy as np
import numpy.typing as npt
from moviepy import (
    AudioClip,
    ImageClip,
    VideoClip,
    concatenate_videoclips,
)
from PIL import Image, ImageFilter

from worker_server.media.model import colour
from worker_server.media.model.brand import Bumper
from worker_server.media.model.edit import AUDIO_RATE, PartEdit
from worker_server.media.model.geometry import Fit
from worker_server.media.model.image_modes import in_full_colour, load, upright
from worker_server.media.process.child import ChildLimits, guarded
from worker_server.media.process.ffmpeg_command import PROGRESS, quiet_ffmpeg
from worker_server.media.rendering.bumper_reader import BumperFrames, bumper_sound
from worker_server.media.rendering.ffmpeg_args import (
    BLUR_SIGMA,
    background_box,
    blurred_size,
    clip_output,
)
from worker_server.media.rendering.moviepy_reader import PartFrames, RgbPicture, Sound, part_sound
from worker_server.media.rendering.render_child import parse_argument


def edited(edit: PartEdit, ffmpeg: str) -> VideoClip:
    """Return the clip: the part, cropped and resized, with its sound, between two bumpers."""
    content = _content(edit, ffmpeg)
    clips = [content]
    # MoviePy picks frames by floating-point time: with clips joined half a frame early, rounding
    # cannot pick a frame from the wrong side of a joint.
    if edit.brand.before and edit.frames_before:
        shown = edit.frames_before - Fraction(1, 2)
        clips = [_with_duration(_bumper(edit, edit.brand.before), shown, edit), content]
    if edit.brand.after and edit.frames_after:
        if not edit.frames_before:
            clips = [_with_duration(content, edit.part.frame_count - Fraction(1, 2), edit)]
        shown = edit.frames_after + Fraction(1)
        clips.append(_with_duration(_bumper(edit, edit.brand.after), shown, edit))
    video = concatenate_videoclips(clips, method="chain")
    return _with_duration(video, edit.total_frames + Fraction(1, 2), edit).with_audio(_sound(edit))


def _content(edit: PartEdit, ffmpeg: str) -> VideoClip:
    frames, rate = PartFrames(edit, ffmpeg), float(edit.frame_rate)

    def frame_at(t: float) -> RgbPicture:
        return frames.picture(min(int(t * rate + 0.25), edit.part.frame_count - 1))

    width, height, left, top = edit.kept
    clip = VideoClip(frame_at, duration=float(edit.part.frame_count / edit.frame_rate))
    cropped = clip.cropped(x1=left, y1=top, width=width, height=height)
    size = edit.content[:2]
    shown = cropped if (width, height) == size else cropped.resized(size)
    return _with_watermark(shown if edit.fills_frame else _on_background(shown, edit), edit)


def _with_watermark(shown: VideoClip, edit: PartEdit) -> VideoClip:
    mark = edit.brand.watermark
    if mark is None:
        return shown
    width, height, left, top = mark.box(edit.width, edit.height)
    with Image.open(mark.path) as picture:
        sized = picture.convert("RGBA").resize((width, height), Image.Resampling.BICUBIC)
    opacity_filter = sized.getchannel("A").point(lambda alpha: round(alpha * float(mark.opacity)))

    def composed(picture: RgbPicture) -> RgbPicture:
        frame = Image.fromarray(picture)
        frame.paste(sized.convert("RGB"), (left, top), opacity_filter)
        return np.asarray(frame)

    return shown.image_transform(composed)


def _on_background(shown: VideoClip, edit: PartEdit) -> VideoClip:
    """Return the picture in a frame of another shape, on a plain or a blurred background."""
    size, place = (edit.width, edit.height), edit.content[2:]
    if edit.fit is Fit.PAD:
        return shown.with_background_color(size, _background(edit), pos=place)

    def composed(picture: RgbPicture) -> RgbPicture:
        frame = _blurred(picture, edit)
        frame.paste(Image.fromarray(picture), place)
        return np.asarray(frame)

    return shown.image_transform(composed)


def _blurred(picture: RgbPicture, edit: PartEdit) -> Image.Image:
    width, height, left, top = background_box(edit)
    middle = Image.fromarray(picture).crop((left, top, left + width, top + height))
    small = middle.resize(blurred_size(edit), Image.Resampling.BOX)
    soft = small.filter(ImageFilter.GaussianBlur(BLUR_SIGMA))
    return soft.resize((edit.width, edit.height), Image.Resampling.BILINEAR)


def _bumper(edit: PartEdit, bumper: Bumper) -> VideoClip:
    """Return the bumper's picture or video, centred on the background."""
    if bumper.is_video:
        video = BumperFrames(bumper, edit)
        rate = float(edit.frame_rate)
        return VideoClip(lambda t: video.picture(int(t * rate + 0.25)), duration=1000)
    frame = Image.new("RGBA", (edit.width, edit.height), _background(edit))
    with Image.open(bumper.path) as picture:
        load(picture)
        shown = in_full_colour(upright(picture)).convert("RGBA")
    box = int(edit.width * bumper.share), int(edit.height * bumper.share)
    # Pillow weighs by alpha: the colour of transparent pixels makes no outline.
    scale = min(Fraction(box[0], shown.width), Fraction(box[1], shown.height))
    size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
    sized = shown.resize(size, Image.Resampling.BICUBIC)
    place = (edit.width - sized.width) // 2, (edit.height - sized.height) // 2
    frame.alpha_composite(sized, place)
    return ImageClip(np.asarray(frame.convert("RGB")))


def _background(edit: PartEdit) -> tuple[int, int, int]:
    red, green, blue = edit.brand.background_rgb
    return red, green, blue


def _sound(edit: PartEdit) -> AudioClip:
    samples = np.zeros((edit.total_samples, 2), np.float32)
    part = part_sound(edit)
    start = round(edit.frames_before / edit.frame_rate * AUDIO_RATE)
    samples[start : start + len(part)] = part[: edit.total_samples - start]
    end = round((edit.frames_before + edit.part.frame_count) / edit.frame_rate * AUDIO_RATE)
    for bumper, first in ((edit.brand.before, 0), (edit.brand.after, end)):
        if bumper and bumper.is_video:
            count = round(bumper.frames(edit.frame_rate) / edit.frame_rate * AUDIO_RATE)
            sound = bumper_sound(bumper)[: min(count, edit.total_samples - first)]
            samples[first : first + len(sound)] = sound

    def samples_at(t: float | npt.NDArray[np.float64]) -> Sound:
        # Round to nearest: MoviePy's own array clip rounds down, which repeats and skips samples.
        places = np.rint(np.asarray(t) * AUDIO_RATE).astype(int)
        chosen: Sound = samples[np.clip(places, 0, len(samples) - 1)]
        return chosen

    return AudioClip(samples_at, duration=(len(samples) + 0.5) / AUDIO_RATE, fps=AUDIO_RATE)


def _with_duration(clip: VideoClip, frames: Fraction, edit: PartEdit) -> VideoClip:
    return clip.with_duration(float(frames / edit.frame_rate))


def write(clip: VideoClip, edit: PartEdit, output: Path, ffmpeg: str) -> int:
    """Encode the clip with the settings of FfmpegRenderer; return ffmpeg's exit status."""
    sound = output.with_suffix(".wav")
    clip.audio.write_audiofile(str(sound), fps=AUDIO_RATE, nbytes=2, codec="pcm_s16le", logger=None)
    # MoviePy's own writer rounds the frame rate to two digits.
    with subprocess.Popen(
        guarded(_write_command(edit, sound, output, ffmpeg), ChildLimits()), stdin=subprocess.PIPE
    ) as writer:
        if writer.stdin is None:
            raise ValueError("no pipe to the encoder")
        for frame in clip.iter_frames(fps=float(edit.frame_rate), dtype="uint8"):
            writer.stdin.write(frame.tobytes())
        writer.stdin.close()
        status = writer.wait()
    sound.unlink()
    return status


def _write_command(edit: PartEdit, sound: Path, output: Path, ffmpeg: str) -> list[str]:
    rate = f"{edit.frame_rate.numerator}/{edit.frame_rate.denominator}"
    frames = ["-s", f"{edit.width}x{edit.height}", "-framerate", rate]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", *frames]
    pictures = ["-protocol_whitelist", "pipe", *raw, "-i", "pipe:0"]
    samples = ["-protocol_whitelist", "file", "-f", "wav", "-i", f"file:{sound}"]
    filters = (
        f"scale=out_color_matrix=bt709:out_range=limited,format=yuv420p,{colour.TAGS},setsar=1"
    )
    return [
        *quiet_ffmpeg(ffmpeg),
        *PROGRESS,
        *pictures,
        *samples,
        "-vf",
        filters,
        *clip_output(edit, output),
    ]


def main() -> int:
    av.logging.set_level(None)
    edit, output, ffmpeg = parse_argument(sys.argv[1])
    return write(edited(edit, ffmpeg), edit, output, ffmpeg)


if __name__ == "__main__":
    sys.exit(main())
