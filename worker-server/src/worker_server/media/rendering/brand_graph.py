"""The inputs and filters of ffmpeg's graph that show a brand: bumpers, watermark, their sound."""

from dataclasses import dataclass
from fractions import Fraction

from worker_server.media.model import colour
from worker_server.media.model.brand import Bumper
from worker_server.media.model.edit import AUDIO_RATE, PartEdit
from worker_server.media.process.ffmpeg_command import local_input


@dataclass(frozen=True)
class Layer:
    """A bumper as an input of the graph, shown while ffmpeg's expression `enable` is true.

    A video begins at `first_frame` of the clip, its sound at `first_sample`.
    """

    bumper: Bumper
    number: int  # index of the ffmpeg input
    first_frame: int
    enable: str
    first_sample: int

    def source(self, rate: Fraction) -> list[str]:
        """Return the arguments that read the bumper."""
        if self.bumper.is_video:
            return local_input(self.bumper.path, "mov", "-threads", "1")
        return _picture_input(self.bumper, rate)


def _picture_input(picture: Bumper, rate: Fraction) -> list[str]:
    options = ("-pattern_type", "none", "-framerate", text(rate))
    return local_input(picture.path, "image2", *options)


def layers(edit: PartEdit, frames: int) -> list[Layer]:
    """Return the bumpers around this many frames of content; input 0 is the source.

    The same picture before and after is one layer, so that it is read and scaled once.
    """
    before, after = edit.brand.before, edit.brand.after
    count, end = edit.frames_before, edit.frames_before + frames
    end_sample = round((count + edit.part.frame_count) / edit.frame_rate * AUDIO_RATE)
    ahead, behind = f"lt(n,{count})", f"gte(n,{end})"
    if before is not None and before == after and not before.is_video:
        spans = [(before, 0, f"{ahead}+{behind}", 0)] if count else []
    else:
        spans = [(before, 0, ahead, 0)] if before is not None and count else []
        if after is not None and edit.frames_after:
            spans.append((after, end, behind, end_sample))
    return [
        Layer(bumper, number, first, enable, sample)
        for number, (bumper, first, enable, sample) in enumerate(spans, 1)
    ]


def padding(edit: PartEdit) -> str:
    """Return the filter that pads the part with the background on both sides."""
    if not edit.frames_before and not edit.frames_after:
        return ""
    stop = f":stop={edit.frames_after}" if edit.frames_after else ""
    return f",tpad=start={edit.frames_before}{stop}:color={background(edit)}"


def with_bumpers(edit: PartEdit, main: str, shown: list[Layer], output: str = "[v]") -> list[str]:
    """Return the chains from the padded content to the output."""
    if not shown:
        return [f"{main}{output}"]
    chains, last = [f"{main}[main{shown[0].number}]"], shown[-1]
    for layer in shown:
        number, chain = layer.number, _scaled(edit, layer)
        target = output if layer is last else f"[main{number + 1}]"
        # Outside the bumpers the frames pass through untouched.
        overlay = f"overlay=x=(W-w)/2:y=(H-h)/2:format=yuv420:enable='{layer.enable}'"
        chains.append(f"[{number}:v]{chain},{colour.TAGS}[bumper{number}]")
        chains.append(f"[main{number}][bumper{number}]{overlay},{colour.TAGS}{target}")
    return chains


def _scaled(edit: PartEdit, layer: Layer) -> str:
    """Return the filters from the bumper to its size in the frame, in the clip's colours."""
    share, into = layer.bumper.share, "out_color_matrix=bt709:out_range=limited"
    width, height = int(edit.width * share), int(edit.height * share)
    fit = _contained(width, height)
    pad = f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:color={background(edit)}"
    if layer.bumper.is_video:
        # eof_action=pass keeps a video of less than half a frame; `trim` removes what is too long.
        grid = f"fps={text(edit.frame_rate)}:round=near:eof_action=pass"
        grid += f",trim=end_frame={layer.bumper.frames(edit.frame_rate)}"
        grid += f",setpts=PTS-STARTPTS+{layer.first_frame}"
        read = "in_color_matrix=bt709:in_range=limited"
        even = f"{_contained(width, height, step=2)}:{read}"
        return f"{grid},{even}:{into},format=yuv420p,{colour.TAGS},{pad},setsar=1"
    if share < 1:  # a logo is placed on the existing background
        return f"{_scaled_with_alpha(fit)},scale={into},format=yuva420p"
    # Pad in RGB: the background's colour is exact there, and odd sizes can be centred.
    return f"format=rgb24,{fit},format=rgb24,{pad},scale={into},format=yuv420p"


def _contained(width: int, height: int, step: int = 1) -> str:
    """Return the filter that scales a picture to the largest size inside this one.

    With `force_original_aspect_ratio` one side of a very thin picture would become 0.
    """
    sides = (width, f"{height}*iw/ih"), (height, f"{width}*ih/iw")
    inside_w, inside_h = (
        f"'max({step},{step}*trunc(min({side},round({other}))/{step}))'" for side, other in sides
    )
    return f"scale=w={inside_w}:h={inside_h}"


def _scaled_with_alpha(scale: str) -> str:
    """Return the filters that scale a picture weighted by alpha.

    Otherwise the hidden colour of transparent pixels would bleed into the visible ones beside them.
    """
    return f"format=rgba,format=gbrap,premultiply=inplace=1,{scale},unpremultiply=inplace=1"


def watermark_input(edit: PartEdit) -> list[str]:
    """Return the arguments that read the watermark; none without one."""
    mark = edit.brand.watermark
    if mark is None:
        return []
    return _picture_input(Bumper(mark.path, Fraction(1)), edit.frame_rate)


def with_watermark(edit: PartEdit, content: str, number: int) -> tuple[list[str], str]:
    """Return the chains that come first, and the content's chain with the watermark over it."""
    mark = edit.brand.watermark
    if mark is None:
        return [], content
    width, height, left, top = mark.box(edit.width, edit.height)
    scaled = _scaled_with_alpha(f"scale={width}:{height}")
    opacity_filter = f"colorchannelmixer=aa={float(mark.opacity):.4f}"
    into = "scale=out_color_matrix=bt709:out_range=limited,format=yuva420p"
    first = [
        f"{content}[content]",
        f"[{number}:v]{scaled},{opacity_filter},{into},{colour.TAGS}[mark]",
    ]
    return first, f"[content][mark]overlay={left}:{top}:format=yuv420,{colour.TAGS},setsar=1"


def with_sound(edit: PartEdit, main: str, shown: list[Layer]) -> list[str]:
    """Return the chains from the content's sound, which lasts the whole clip, to `[a]`."""
    videos = [layer for layer in shown if layer.bumper.is_video]
    if not videos:
        return [f"{main}[a]"]
    sounds = [f"{_sound(edit, layer)}[sound{layer.number}]" for layer in videos]
    labels = "".join(f"[sound{layer.number}]" for layer in videos)
    # Only one input is heard at a time, so adding them up (normalize=0) keeps their levels.
    mix = f"amix=inputs={len(videos) + 1}:duration=first:normalize=0"
    # Of a part without sound all samples come from `apad`, which gives them no times.
    return [f"{main},asetpts=N/SR/TB[part]", *sounds, f"[part]{labels}{mix}[a]"]


def _sound(edit: PartEdit, layer: Layer) -> str:
    frames = layer.bumper.frames(edit.frame_rate)
    samples = round(frames / edit.frame_rate * AUDIO_RATE)
    chain = f"aresample={AUDIO_RATE}:async=1:first_pts=0,aformat=channel_layouts=stereo"
    cut = f"atrim=end_sample={samples},adelay={layer.first_sample}S:all=1"
    return f"[{layer.number}:a]{chain},{cut},apad=whole_len={edit.total_samples}"


def background(edit: PartEdit) -> str:
    """Return the brand's background as ffmpeg writes a colour."""
    return "0x" + edit.brand.background.removeprefix("#")


def text(value: Fraction) -> str:
    """Return the fraction as ffmpeg reads it, such as `30000/1001`."""
    return f"{value.numerator}/{value.denominator}"
