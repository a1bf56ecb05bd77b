"""Sends a file by tuspy, as a caller with some patience does; prints the upload's address."""

import os
import sys
import time
from pathlib import Path

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

ATTEMPTS, PAUSE_S = 250, 0.3


def main(base_url: str, path: str, chunk_bytes: str, extra: str) -> None:
    """Send the file in chunks; `extra` is "yes" for a checksum of each."""
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    uploader = TusClient(f"{base_url}/uploads", headers=headers).uploader(
        path,
        chunk_size=int(chunk_bytes),
        metadata={"filename": Path(path).name},
        retries=ATTEMPTS,
        retry_delay=PAUSE_S,
        upload_checksum=extra == "yes",
    )
    for _ in range(
        ATTEMPTS
    ):  # tuspy retries PATCH itself, but not the POST that creates the upload
        try:
            uploader.upload()
        except (TusCommunicationError, TypeError):  # of an answer cut off before its offset
            time.sleep(PAUSE_S)
        else:
            print(uploader.url)
            return
    raise SystemExit("the upload did not arrive")


main(*sys.argv[1:])
