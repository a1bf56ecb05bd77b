"""The methods that make one part: by hand, by our renderers, by MoviePy with its defaults."""

import json
import subprocess
import sys
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

from worker_server.media import (
    Bumper,
    PartEdit,
    Preparation,
    Profile,
    clip_files,
    plan_parts,
    probe,
    renderer,
    run_encoder,
)
from worker_server.media.model.brand import BACKGROUND, LOGO_SHARE
from worker_server.media.model.geometry import crop_box

HAND, OURS, OUR_MOVIEPY, USER_MOVIEPY = (
    "by hand",
    "ours, ffmpeg",
    "ours, moviepy",
    "moviepy by its defaults",
)


def _logo(edit: PartEdit) -> Bumper:
    if edit.brand.before is None:
        raise ValueError("an edit with a logo is measured")
    return edit.brand.before


def edits(video: Path, profile: Profile, part_s: int = 20) -> list[PartEdit]:
    """Return the edits of all parts."""
    source = probe(video)
    if source.preparation is not Preparation.NONE:
        raise ValueError(f"{video} would be prepared first; measure with MP4 or Matroska")
    return [
        PartEdit.of(source, video, part, profile=profile) for part in plan_parts(source, part_s)
    ]


def ours(edit: PartEdit, output: Path, engine: str = "ffmpeg") -> None:
    """Make the part as a worker does."""
    engine_renderer = renderer(engine, get_ffmpeg_exe())
    run_encoder(
        engine_renderer.command(edit, output),
        total_frames=edit.total_frames,
        on_progress=lambda _: None,
        should_stop=lambda: False,
        scratch=output.parent,
        files=clip_files(engine_renderer, edit, output),
    )


def by_hand(edit: PartEdit, output: Path) -> None:
    """Make the part with the command that an ffmpeg user would type for this source."""
    subprocess.run([get_ffmpeg_exe(), *hand_command(edit), str(output)], check=True)


def hand_command(edit: PartEdit) -> list[str]:
    """Seek, `concat` of three pieces, the edit's encoder settings, and only needed filters."""
    profile = edit.profile
    start_s, length_s = (
        float(f / edit.frame_rate) for f in (edit.part.start_frame, edit.part.frame_count)
    )
    threads = ["-threads", str(profile.threads)] if profile.threads else []
    seek = ["-ss", f"{start_s:.6f}"] if start_s else []
    read = [*threads, *seek, "-t", f"{length_s:.6f}", "-i", str(edit.source_path)]
    logo = ["-i", str(_logo(edit).path)]
    silence = [
        "-f",
        "lavfi",
        "-t",
        str(float(_logo(edit).duration_s)),
        "-i",
        "anullsrc=r=48000:cl=stereo",
    ]
    graph = ["-filter_complex", _hand_graph(edit), "-map", "[v]", "-map", "[a]"]
    video = ["-c:v", "libx264", *profile.encoder_arguments, *threads]
    video += ["-profile:v", "high", "-8x8dct", "1", "-pix_fmt", "yuv420p"]
    audio = ["-c:a", "aac", "-b:a", "128k", "-ar", "48000"]
    begin = [
        "-nostdin",
        "-v",
        "error",
        "-y",
        *(["-filter_complex_threads", "1"] if profile.threads == 1 else []),
    ]
    return [*begin, *read, *logo, *silence, *graph, *video, *audio, "-movflags", "+faststart"]


def _hand_graph(edit: PartEdit) -> str:
    crop = crop_box(edit.source)
    filters = [f"crop={':'.join(map(str, crop))}"] if crop[:2] != edit.source.upright_size else []
    filters += (
        [f"scale={edit.width}:{edit.height}"] if crop[:2] != (edit.width, edit.height) else []
    )
    filters += ["setsar=1"]
    background = f"color={BACKGROUND}:s={edit.width}x{edit.height}"
    chains = [
        f"{background}:r={edit.frame_rate}:d={float(_logo(edit).duration_s)}[background]",
        f"[1:v]scale={int(edit.width * LOGO_SHARE)}:-2[logo]",
        "[background][logo]overlay=(W-w)/2:(H-h)/2,setsar=1,format=yuv420p,split[v1][v3]",
        f"[0:v]{','.join(filters)}[v2]",
    ]
    sound = "[0:a]aresample=48000,aformat=channel_layouts=stereo[a2]"
    if not edit.source.has_audio:
        length_s = float(edit.part.frame_count / edit.frame_rate)
        sound = f"anullsrc=r=48000:cl=stereo,atrim=duration={length_s:.6f}[a2]"
    chains += [sound, "[2:a]asplit[a1][a3]", "[v1][a1][v2][a2][v3][a3]concat=n=3:v=1:a=1[v][a]"]
    return ";".join(chains)


def by_moviepy(edit: PartEdit, output: Path) -> None:
    """Make the part with MoviePy's own reader, composition and writer, all at their defaults."""
    width, height, left, top = crop_box(edit.source)
    job = {
        "source": str(edit.source_path),
        "start_s": float(edit.part.start_frame / edit.frame_rate),
        "end_s": float(edit.part.end_frame / edit.frame_rate),
        "crop": [left, top, width, height],
        "size": [edit.width, edit.height],
        "logo": str(_logo(edit).path),
        "logo_s": float(_logo(edit).duration_s),
        "logo_width": int(edit.width * LOGO_SHARE),
        "output": str(output),
    }
    # MoviePy writes its temporary sound file to the working directory.
    command = [sys.executable, str(Path(__file__).with_name("user_moviepy.py")), json.dumps(job)]
    subprocess.run(command, check=True, cwd=output.parent)
