"""Uploads whose connections break: nothing that was confirmed is lost, nothing arrives wrong."""

import time

from chaos.callers import Stream
from chaos.history import History
from chaos.target import Target
from chaos.uploads import Upload

Figures = dict[str, list[float]]
_UPLOADS = 200
_CUTS_AT_MOST = 4
_PAUSE_S = 0.05


def cut_uploads(target: Target, rounds: int) -> Figures:  # noqa: ARG001 # once is enough
    """Cut uploads off up to four times each, finish them, and compare the files on the share."""
    caller = Stream(target.installation.url, target.sources, History(), seed=1).callers[0]
    body = target.sources.get("short.mp4").body
    wrong = 0
    for _ in range(_UPLOADS):
        upload = Upload(body)
        for _ in range(caller.random.randint(1, _CUTS_AT_MOST)):
            caller.advance(upload, cut_share=1)
        while upload.body_of_task is None:
            caller.advance(upload, cut_share=0)
            time.sleep(_PAUSE_S)  # the call that was cut off may still hold the file
        file = target.home.share / "uploads" / upload.body_of_task["upload_id"]
        wrong += file.read_bytes() != body
        caller.call("DELETE", str(upload.link), "/uploads/<id>", headers={"Tus-Resumable": "1.0.0"})
    return {"200 uploads cut at random: lost or wrong": [float(wrong + len(caller.history.losses))]}
