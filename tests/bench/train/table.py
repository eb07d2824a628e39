"""The training benchmark's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = (
    "| variant | tokens | samples | ms | samples/s | TFLOP/s | of the ceiling | peak GiB |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
)


def table(rows: Sequence[Mapping[str, Any]], ratios: Mapping[str, float]) -> str:
    """Rows as a Markdown table, ratios one a line behind it."""
    return "\n".join([*HEAD, *map(_line, rows), "", *(f"{name}: {value:.3g}" for name, value in ratios.items())])


def _line(row: Mapping[str, Any]) -> str:
    if "seconds" not in row:
        return f"| {row['what']} | | | | | {row['tflops']:.3g} | {row['ceiling_share']:.0%} | |"
    return (
        f"| {row['what']} | {row['tokens']} | {row['samples']:g} | {row['seconds'] * 1e3:.0f} "
        f"| {row['samples_per_s']:.1f} | {row['tflops']:.3g} | {row['ceiling_share']:.0%} | {row['peak_gib']:.1f} |"
    )
