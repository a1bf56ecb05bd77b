"""A part as a MoviePy user would write it, with defaults: `python user_moviepy.py JOB` (JSON)."""

import json
import sys

from moviepy import ImageClip, VideoFileClip, concatenate_videoclips


def main() -> None:
    job = json.loads(sys.argv[1])
    with VideoFileClip(job["source"]) as source:
        part = source.subclipped(job["start_s"], min(job["end_s"], source.duration))
        left, top, width, height = job["crop"]
        part = part.cropped(x1=left, y1=top, width=width, height=height)
        if (width, height) != tuple(job["size"]):
            part = part.resized(tuple(job["size"]))
        logo = ImageClip(job["logo"]).with_duration(job["logo_s"]).resized(width=job["logo_width"])
        background = (0x14, 0x14, 0x14)
        clip = concatenate_videoclips([logo, part, logo], method="compose", bg_color=background)
        clip.write_videofile(job["output"], logger=None)


if __name__ == "__main__":
    main()
