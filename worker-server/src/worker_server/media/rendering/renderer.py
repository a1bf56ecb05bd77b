"""The one interface of everything that makes a clip."""

from pathlib import Path
from typing import Literal, Protocol

from worker_server.media.model.edit import PartEdit

RenderedBy = Literal["copy", "encode"]


class Renderer(Protocol):
    """One way of making the clip of a part; `media.render` runs and verifies it.

    Every renderer, whatever it does inside, keeps this contract:

    - The clip has exactly `edit.total_frames` frames at `edit.frame_rate`, `edit.width` by
      `edit.height`, H.264 High yuv420p BT.709 limited range, and `edit.total_samples` samples of
      AAC, 48 kHz stereo. Frame `edit.frames_before + k` shows what a player shows of the source at
      `source.origin_s + (part.start_frame + k) / frame_rate`: rotated, mirrored, cropped, held.
    - Two renderers that can both render an edit make clips that look and sound the same.
    - The command reads `edit.source_path` and the brand's files, writes to `output` and beside it
      (removing what is not the clip), and runs Python and `ffmpeg_path`: the sandbox refuses any
      other file, the network, and signals to processes that the command did not start.
    - It prints ffmpeg's progress lines (`frame=N`, N growing) on standard output at least every few
      seconds; `media.render` takes silence for a stall.
    - It exits with 0 once `output` is complete, and with `DECLINED_STATUS` where only the stream
      itself shows that this renderer cannot make the clip: the next renderer is tried then. Any
      other end is a failure, explained on standard error. `output` may be there incomplete then.
    - It ends when its process group gets SIGTERM. It leaves no process behind.
    """

    @property
    def rendered_by(self) -> RenderedBy:
        """How the clip was made, for the part's row in the database."""
        ...

    @property
    def conceals(self) -> bool:
        """Whether the renderer shows something in place of damaged frames, as players do.

        Such a renderer is tried only where damage may explain another one's failure; the damaged
        frames are counted then.
        """
        ...

    @property
    def ffmpeg_path(self) -> Path:
        """The program besides Python that its commands run."""
        ...

    def can_render(self, edit: PartEdit) -> bool:
        """Return, from the edit alone and without the source, whether `command` may succeed."""
        ...

    def command(self, edit: PartEdit, output: Path) -> list[str]:
        """Return the command that writes the clip to `output`. Starts nothing, reads nothing."""
        ...
