"""How interlaced sources become progressive, the same in every renderer: one frame a frame."""

# ffmpeg's filter and its options; frames that are flagged as progressive pass unchanged.
FILTER = "bwdif"
OPTIONS = "mode=send_frame:deint=interlaced"
