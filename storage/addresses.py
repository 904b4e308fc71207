"""Sets of row addresses in the bytes that Lance's search takes: by fragment, a bitmap in the Roaring format.

The layout is that of `RowAddrTreeMap` of lance-core and of the Roaring specification
(https://github.com/RoaringBitmap/RoaringFormatSpec), without run containers.
"""

import struct

import numpy as np
from numpy.typing import NDArray

_NO_RUNS = 12346  # the specification's cookie
_LISTED = 4096  # values of a container up to which they are listed; beyond, it is a bitmap


def allow_list(addresses: NDArray[np.uint64], sizes: dict[int, int]) -> bytes:
    """Return ascending row addresses as Lance wants to be told which rows may be found.

    Args:
        addresses: (N,) ascending; fragment in the upper half, row in it in the lower.
        sizes: Physical rows by fragment. A fragment that is named whole takes no bitmap.
    """
    fragments, starts = np.unique(addresses >> np.uint64(32), return_index=True)
    parts = [struct.pack("<I", len(fragments))]
    for fragment, rows in zip(
        fragments, np.split(addresses, starts[1:]), strict=False
    ):  # of nothing, one part
        whole = len(rows) == sizes.get(int(fragment))
        bitmap = b"" if whole else roaring(rows.astype(np.uint32))
        parts.append(struct.pack("<II", int(fragment), len(bitmap)) + bitmap)
    return b"".join(parts)


def roaring(values: NDArray[np.uint32]) -> bytes:
    """Return ascending numbers as a Roaring bitmap."""
    keys, starts, counts = np.unique(values >> np.uint32(16), return_index=True, return_counts=True)
    low = (values & np.uint32(0xFFFF)).astype("<u2")
    head = struct.pack("<II", _NO_RUNS, len(keys))
    head += np.stack([keys, counts - 1], axis=1).astype("<u2").tobytes()
    bodies = [_container(low[start : start + count]) for start, count in zip(starts, counts, strict=True)]
    first = len(head) + 4 * len(bodies)
    ends = np.cumsum([first, *(len(body) for body in bodies)], dtype=np.int64)
    return head + ends[:-1].astype("<u4").tobytes() + b"".join(bodies)


def _container(low: NDArray[np.uint16]) -> bytes:
    if len(low) <= _LISTED:
        return low.tobytes()
    bits = np.zeros(1 << 16, np.uint8)
    bits[low] = 1
    return np.packbits(bits, bitorder="little").tobytes()
