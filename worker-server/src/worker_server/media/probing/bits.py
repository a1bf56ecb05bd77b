"""Reads the fields of codecs' headers bit by bit."""


class Bits:
    """A header as a stream of bits; `data` is without emulation prevention bytes."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def read(self, count: int) -> int:
        """Return the next bits as an integer; 0 where they are not all there."""
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else 0
        return shifted & ((1 << count) - 1)

    def ue(self) -> int:
        """Return an Exp-Golomb code."""
        zeros = 0
        while self._left > 0 and not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
