"""Calls of tus as one account makes them."""

import base64
from pathlib import Path

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

BYTES = "application/offset+octet-stream"
CONTENT = bytes(range(256)) * 1000
NAME = "opening talk.mp4"


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


class Uploads:
    """The calls of one account."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = {**headers, "Tus-Resumable": "1.0.0"}

    def create(self, length: object = len(CONTENT), **more: str) -> TestResponse:
        headers = {**self.headers, "Upload-Length": str(length), **more}
        return self.client.post("/uploads", headers=headers)

    def new(self, length: int = len(CONTENT)) -> str:
        metadata = f"filename {encoded(NAME.encode())},empty"
        response = self.create(length, **{"Upload-Metadata": metadata})
        assert response.status_code == 201
        return response.headers["Location"]

    def patch(self, path: str, offset: object, data: bytes, **more: str) -> TestResponse:
        headers = {**self.headers, "Upload-Offset": str(offset), "Content-Type": BYTES, **more}
        return self.client.patch(path, headers=headers, data=data)

    def offset(self, path: str) -> int:
        response = self.client.head(path, headers=self.headers)
        assert response.status_code == 200
        return int(response.headers["Upload-Offset"])

    def whole(self, content: bytes) -> str:
        """Upload and return the id."""
        path = self.new(len(content))
        assert self.patch(path, 0, content).status_code == 204
        return path.rpartition("/")[2]


def file_of(share: Path, path: str) -> Path:
    return share / "uploads" / path.rpartition("/")[2]
