"""PNG and TIFF files of any depth written by hand, so that what is read back does not come from the same library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6  # PNG's own numbers
SHORT, LONG = 3, 4  # TIFF's types
INTEGER, SIGNED, FLOAT = 1, 2, 3  # TIFF's kinds of samples


def png(
    pixels: np.ndarray,
    bits: int,
    kind: int,
    transparent: Sequence[int] | bytes | None = None,
    palette: np.ndarray | None = None,
    orientation: int | None = None,
) -> bytes:
    """A PNG of [height, width, channels] samples; `transparent`: the one colour, or the palette's alpha as bytes."""
    height, width, _ = pixels.shape
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    if orientation is not None:
        parts.append(_chunk(b"eXIf", exif(orientation)))
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    if transparent is not None:
        raw = transparent if isinstance(transparent, bytes) else struct.pack(f">{len(transparent)}H", *transparent)
        parts.append(_chunk(b"tRNS", raw))
    rows = b"".join(b"\0" + _packed(row.reshape(-1), bits) for row in pixels)
    parts += [_chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _packed(row: np.ndarray, bits: int) -> bytes:
    if bits == 16:
        return row.astype(">u2").tobytes()
    flags = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(flags.reshape(-1)).tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def exif(orientation: int) -> bytes:
    """An EXIF block that holds an orientation and nothing else."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, SHORT, 1, orientation, 0, 0)


def tiff(pixels: np.ndarray, bits: int, white_is_zero: bool = False, sample: int = INTEGER) -> bytes:
    """An uncompressed grey TIFF of [height, width] samples, stored as the array's bytes."""
    height, width = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    tags = [
        (256, LONG, width),
        (257, LONG, height),
        (258, SHORT, bits),
        (259, SHORT, 1),
        (262, SHORT, int(not white_is_zero)),
        (273, LONG, 8),
        (277, SHORT, 1),
        (278, LONG, height),
        (279, LONG, len(data)),
        (339, SHORT, sample),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory
