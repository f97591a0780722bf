"""Bytes as Dask writes them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int) -> str:
    """An amount of memory in the unit that keeps it readable: "512 B", "1.5 GiB"."""
    amount = float(count)
    for unit in _UNITS:
        if abs(amount) < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f"{amount:.2f}".rstrip("0").rstrip(".") + f" {unit}"


def limit(count: int) -> str:
    """A memory limit; 0 is "none"."""
    return size(count) if count else "none"
