"""Uploads as callers send them: cut off at random, continued from the offset that HEAD tells."""

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from chaos.callers import Caller

_TUS = {"Tus-Resumable": "1.0.0"}
_READ_BYTES = 4096


@dataclass
class Upload:
    """A file on its way: `confirmed_bytes` is the greatest offset that an answer has named."""

    body: bytes = field(repr=False)
    link: str | None = None
    confirmed_bytes: int = 0

    @property
    def body_of_task(self) -> dict[str, str] | None:
        """The body of a task that is made of the upload; None until all bytes are confirmed."""
        if self.link is None or self.confirmed_bytes < len(self.body):
            return None
        return {"upload_id": self.link.rpartition("/")[2]}

    def advance(self, caller: "Caller", cut_share: float) -> None:
        """Ask for the offset and send the rest, of which that share of calls is cut off."""
        if self.link is None:
            length = {"Upload-Length": str(len(self.body))}
            answer = caller.call("POST", "/uploads", "/uploads", headers={**_TUS, **length})
            if answer is None or answer.status_code != 201:
                return
            self.link = answer.headers["Location"]
        answer = caller.call("HEAD", self.link, "/uploads/<id>", headers=_TUS)
        if self._note_offset(caller, answer) and self.body_of_task is None:
            self._send_rest(caller, self.link, cut_share)

    def _send_rest(self, caller: "Caller", link: str, cut_share: float) -> None:
        rest = self.body[self.confirmed_bytes :]
        is_cut = caller.random.random() < cut_share
        headers = {
            **_TUS,
            "Upload-Offset": str(self.confirmed_bytes),
            "Content-Type": "application/offset+octet-stream",
        }
        body = _CutOff(rest, caller.random) if is_cut else rest
        answer = caller.call("PATCH", link, "/uploads/<id>", data=body, headers=headers)
        if answer is not None and answer.status_code == 204:
            self._note_offset(caller, answer)

    def _note_offset(self, caller: "Caller", answer: requests.Response | None) -> bool:
        """Store the offset of a response; return False if it has none or a smaller one."""
        if answer is None or answer.status_code >= 500:
            return False
        offset = answer.headers.get("Upload-Offset")
        if offset is None or int(offset) < self.confirmed_bytes:
            result = offset or f"status {answer.status_code}"
            caller.history.note_loss(f"{self}: {self.confirmed_bytes} bytes became {result}")
            return False
        self.confirmed_bytes = int(offset)
        return True


class _CutOff:
    """A body that announces its whole length, and breaks off somewhere before its end."""

    def __init__(self, body: bytes, random: Random) -> None:
        self._body = body
        self._ends_at = random.randrange(len(body))
        self._at = 0

    def __len__(self) -> int:
        return len(self._body)

    def read(self, size: int = -1) -> bytes:
        """Return some bytes; raise ConnectionResetError where the body is cut off."""
        if self._at >= self._ends_at:
            raise ConnectionResetError("cut off on purpose")
        size = min(size if size > 0 else _READ_BYTES, _READ_BYTES, self._ends_at - self._at)
        self._at += size
        return self._body[self._at - size : self._at]
