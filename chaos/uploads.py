"""Uploads as callers send them: cut off at random, continued from the offset that HEAD tells."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import requests

# As chaos.callers.Caller.call: method, path, label, and the options of requests.
MakeCall = Callable[..., requests.Response | None]

_TUS = {"Tus-Resumable": "1.0.0"}
_READ_BYTES = 4096


class BytesLost(Exception):
    """The system answered with a smaller offset than it had confirmed, or with none."""


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

    def advance(self, call: MakeCall, random: Random, cut_share: float) -> None:
        """Query the offset and send the rest, of which that share of calls is cut off.

        Raise BytesLost.
        """
        if self.link is None:
            length = {"Upload-Length": str(len(self.body))}
            answer = call("POST", "/uploads", "/uploads", headers={**_TUS, **length})
            if answer is None or answer.status_code != 201:
                return
            self.link = answer.headers["Location"]
        answer = call("HEAD", self.link, "/uploads/<id>", headers=_TUS)
        if self._record_offset(answer) and self.body_of_task is None:
            is_cut = random.random() < cut_share
            rest = self.body[self.confirmed_bytes :]
            self._send(call, self.link, _CutOff(rest, random) if is_cut else rest)

    def _send(self, call: MakeCall, link: str, body: "bytes | _CutOff") -> None:
        headers = {
            **_TUS,
            "Upload-Offset": str(self.confirmed_bytes),
            "Content-Type": "application/offset+octet-stream",
        }
        answer = call("PATCH", link, "/uploads/<id>", data=body, headers=headers)
        if answer is not None and answer.status_code == 204:
            self._record_offset(answer)

    def _record_offset(self, answer: requests.Response | None) -> bool:
        """Store the offset of a response; return False if there was no response, or an error."""
        if answer is None or answer.status_code >= 500:
            return False
        offset = answer.headers.get("Upload-Offset")
        if offset is None or int(offset) < self.confirmed_bytes:
            result = offset or f"status {answer.status_code}"
            raise BytesLost(f"{self}: {self.confirmed_bytes} bytes became {result}")
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
