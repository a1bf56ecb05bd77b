"""Codes a bumper that is one still picture: an IDR picture, then pictures that skip everything.

Encoding each of its frames took a sixth of a copied part's processor time. A skipped picture
repeats the one before it exactly; it is written here, in a few bytes, with a picture parameter set
of its own (CAVLC, where one number skips all macroblocks). Names are those of ITU-T H.264.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from worker_server.media.model.brand import Bumper
from worker_server.media.model.edit import PartEdit
from worker_server.media.rendering.copyable_span import CodedPicture, Span
from worker_server.media.rendering.h264 import UnsupportedStream

_REFERENCE = 3 << 5  # nal_ref_idc
_SLICE_UNIT, _PPS_UNIT = _REFERENCE | 1, _REFERENCE | 8
_P_SLICE = 5  # slice_type: every slice of the picture is P
_MAX_PPS_ID = 255
_NEEDS_ESCAPE = re.compile(rb"\x00\x00(?=[\x00-\x03])")


def still_bumper(edit: PartEdit, copied: Span) -> Bumper | None:
    """Return the picture that all bumpers show; None where they have to be encoded frame by frame.

    Two IDR pictures must not follow each other where they may have the same idr_pic_id: the
    bumper's and the encoded one after it, that one and the copied one after it.
    """
    bumpers = {each for each in (edit.brand.before, edit.brand.after) if each and each.duration_s}
    if len(bumpers) != 1 or edit.frames_before == 1:
        return None
    if edit.frames_before and copied.part.start_frame == edit.part.start_frame + 1:
        return None
    bumper = bumpers.pop()
    return None if bumper.is_video else bumper


def with_one_picture(edit: PartEdit, bumper: Bumper) -> PartEdit:
    """Return the edit that shows the bumper for one frame, after the part."""
    once = replace(bumper, duration_s=1 / Fraction(edit.frame_rate))
    return replace(edit, brand=replace(edit.brand, before=None, after=once))


@dataclass(frozen=True)
class SkippedPictures:
    """Pictures in an encoder's stream that repeat the IDR picture before them.

    `fields` are the encoder's parameter sets as `headers` returns them.
    """

    fields: dict[str, list[int]]
    pps_id: int

    @classmethod
    def with_unused_id(cls, fields: dict[str, list[int]], span: Span) -> "SkippedPictures":
        """Choose an id that neither the encoder's nor the source's parameter sets have."""
        used = {*fields["pic_parameter_set_id"], *span.headers["pic_parameter_set_id"]}
        free = set(range(_MAX_PPS_ID + 1)) - used
        if not free:
            raise UnsupportedStream("no id is free for a further picture parameter set")
        return cls(fields, min(free))

    @property
    def pps(self) -> bytes:
        """The picture parameter set, as a unit."""
        bits = _ue(self.pps_id, self.fields["seq_parameter_set_id"][0])
        bits += "00" + _ue(0, 0, 0)  # CAVLC; one slice group, one reference
        bits += "000" + _ue(0, 0, 0)  # no weights; initial QP 26, no offset for chroma
        return _unit(_PPS_UNIT, bits + "100")  # slices say how they are deblocked

    def picture(self, number: int) -> bytes:
        """Return the `number`-th picture after the IDR picture, from 1: a slice with its length.

        It is a reference, or picture order count type 2 would not allow the next one.
        """
        bits = _ue(0, _P_SLICE, self.pps_id) + _low_bits(number, self._bits("frame_num"))
        order_type = self.fields["pic_order_cnt_type"][0]
        if order_type == 0:
            bits += _low_bits(2 * number, self._bits("pic_order_cnt_lsb"))
        elif order_type == 1:
            raise UnsupportedStream("the encoder's pictures have order count type 1")
        # Neither more references nor another order of them, nor other marking; QP, no deblocking.
        bits += "000" + _ue(0, 1)
        unit = _unit(_SLICE_UNIT, bits + _ue(self._macroblocks()))  # mb_skip_run
        return len(unit).to_bytes(4) + unit

    def _bits(self, name: str) -> int:
        return self.fields[f"log2_max_{name}_minus4"][0] + 4

    def _macroblocks(self) -> int:
        width, height = ("pic_width_in_mbs_minus1", "pic_height_in_map_units_minus1")
        return (self.fields[width][0] + 1) * (self.fields[height][0] + 1)


def with_still_bumpers(
    encoded: Sequence[CodedPicture], skipped: SkippedPictures, edit: PartEdit
) -> list[CodedPicture]:
    """Put the bumpers, whose picture was encoded last, around the others, in decoding order."""
    *edges, still = encoded
    if not still.is_idr or still.frame != len(edges):
        raise UnsupportedStream("the bumper's picture is not encoded by itself")
    before, end = edit.frames_before, edit.frames_before + len(edges)
    return [
        *_repeated(still, skipped, range(before)),
        *(replace(coded, frame=coded.frame + before) for coded in edges),
        *_repeated(still, skipped, range(end, end + edit.frames_after)),
    ]


def _repeated(
    still: CodedPicture, skipped: SkippedPictures, frames: range
) -> Iterator[CodedPicture]:
    for number, frame in enumerate(frames):
        data = skipped.picture(number) if number else still.data
        yield CodedPicture(data, frame, is_idr=not number)


def _ue(*values: int) -> str:
    """Return Exp-Golomb codes (9.1); of 0 as a signed one as well."""
    codes = (f"{value + 1:b}" for value in values)
    return "".join("0" * (len(code) - 1) + code for code in codes)


def _low_bits(value: int, count: int) -> str:
    return f"{value % (1 << count):0{count}b}"


def _unit(header: int, bits: str) -> bytes:
    """Return a NAL unit, with stop bit and emulation prevention."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    data = bytes([header]) + int(bits, 2).to_bytes(len(bits) // 8)
    return _NEEDS_ESCAPE.sub(b"\x00\x00\x03", data)
