"""Means that add up: sums of parts divided by one number, in whole nanoseconds whose sum is the mean of the whole."""

from __future__ import annotations

from collections.abc import Sequence


def shared_out(sums: Sequence[int], n: int) -> list[int]:
    """Return each sum divided by n, in whole numbers that add up to floor(Σ / n): by the largest remainder.

    Of n = 0 all are 0.
    """
    if n == 0:
        return [0] * len(sums)
    whole = [total // n for total in sums]
    left = sum(sums) // n - sum(whole)
    for i in sorted(range(len(sums)), key=lambda i: -(sums[i] % n))[:left]:
        whole[i] += 1
    return whole
