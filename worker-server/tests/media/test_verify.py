"""Verification takes a clip that is what its edit asks for, and no other."""

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from worker_server.media import (
    ClipRejected,
    EncodeFailed,
    PartEdit,
    Profile,
    Stopped,
    Verifier,
    plan_parts,
    probe,
    verify_clip,
)
from worker_server.media.verifying import verify, verify_child

Make = Callable[..., Path]
FASTSTART = "-movflags +faststart"
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"


class TestVerify:
    """An exit status of 0 proves nothing."""

    @pytest.fixture
    def edit(self, make: Make) -> PartEdit:
        path = make(f"-f lavfi -i testsrc2=s=320x180:r=25:d=1 {X264}", "plain.mp4")
        source = probe(path)
        return PartEdit.of(source, path, plan_parts(source)[0], profile=Profile("ultrafast", 30, 1))

    SILENCE = "-f lavfi -i anullsrc=r=48000:cl=stereo:d=3"
    GOOD = f"-f lavfi -i testsrc2=s=320x180:r=25:d=3 {SILENCE} -c:v libx264 -preset veryfast"
    ENDING = "-pix_fmt yuv420p -c:a aac -shortest"

    def test_a_good_clip_is_accepted(self, edit: PartEdit, make: Make) -> None:
        path = make(f"{self.GOOD} {self.ENDING}", "good.mp4")
        facts = verify_clip(path, edit)
        assert (facts.frames, facts.duration_s, facts.size_bytes) == (75, 3.0, path.stat().st_size)
        done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
        assert facts.sha256 == done.stdout.split()[0]

    @pytest.mark.parametrize("demuxer", ["mov", "matroska"])
    def test_damage_is_not_none_where_the_source_cannot_be_read(
        self, demuxer: str, edit: PartEdit, make: Make, tmp_path: Path
    ) -> None:
        """Else an error of the share would pass for a whole source."""
        path = make(f"{self.GOOD} {self.ENDING}", "good.mp4")
        source = replace(edit.source, demuxer=demuxer)
        gone = replace(edit, source=source, source_path=tmp_path / "gone")
        payload = {"path": str(path), "edit": gone.to_json(), "conceals": True}
        assert "No such file" in verify_child.reply(payload)["error"]

    @pytest.mark.parametrize(
        ("before", "after", "stderr_tail"),
        [
            ("", "-frames:v 74", "frames is 74"),
            ("", "-r 24", "frames is"),
            ("", "-s 320x178", "size is"),
            ("", "-vf setsar=2", "sample_aspect is 2"),
            ("", "-profile:v baseline", "video is"),
            ("", "-ac 1", "audio is"),
            ("", "-ar 44100", "audio is"),
            ("", "-c:a libmp3lame", "audio is"),
            ("", "-an", "the streams"),
            ("", "-af atrim=end=2.9,apad=whole_dur=2.9 -t 2.9", "frames is"),
            ("", "-af atrim=end=2.9", "the sound lasts"),
            ("", "-af apad=whole_dur=3.1", "the sound lasts"),
            ("", "-vf setpts=PTS*1.02 -fps_mode passthrough", "the picture lasts"),
        ],
    )
    def test_any_difference_is_found(
        self, before: str, after: str, stderr_tail: str, edit: PartEdit, make: Make
    ) -> None:
        ending = self.ENDING.replace("-shortest", "")
        path = make(f"{before} {self.GOOD} {ending} {after}", "bad.mp4")
        with pytest.raises(ClipRejected, match=stderr_tail):
            verify_clip(path, edit)

    @pytest.mark.parametrize(
        ("share", "options"),
        [*product((0.0, 0.2, 0.9), ("", FASTSTART)), (0.9999, FASTSTART)],  # within a packet
    )
    def test_half_a_clip_is_refused(
        self, share: float, options: str, edit: PartEdit, make: Make, tmp_path: Path
    ) -> None:
        whole = make(f"{self.GOOD} {self.ENDING} {options}", "good.mp4").read_bytes()
        path = tmp_path / "half.mp4"
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ClipRejected):
            verify_clip(path, edit)

    def test_no_clip_at_all_is_refused(self, edit: PartEdit, tmp_path: Path) -> None:
        with pytest.raises(ClipRejected, match="no clip"):
            verify_clip(tmp_path / "nothing.mp4", edit)

    def test_a_stop_is_noticed_before_the_answer(self, edit: PartEdit, make: Make) -> None:
        path = make(f"{self.GOOD} {self.ENDING}", "good.mp4")
        with Verifier() as verifier:
            os.kill(verifier.start().pid, signal.SIGSTOP)
            answers = iter((False, True))
            with pytest.raises(Stopped):
                verifier.check(path, edit, lambda: next(answers))

    def test_verifier_without_an_answer_rejects_no_clip(
        self, edit: PartEdit, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verify, "_TIMEOUT_S", 0.5)
        path = make(f"{self.GOOD} {self.ENDING}", "good.mp4")
        with Verifier() as verifier:
            os.kill(verifier.start().pid, signal.SIGSTOP)
            with pytest.raises(EncodeFailed) as caught:
                verifier.check(path, edit, lambda: False)
        assert (caught.value.code, caught.value.retryable) == ("probe_timeout", True)
