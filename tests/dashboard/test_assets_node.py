"""The components' pure parts, in Node: layout, hits, keys, words. What needs a page is in the browser's tests."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

from tracelens.report.units import count, duration, percent

TESTS = Path(__file__).parents[1] / "assets"
ENVIRONMENT = os.environ | {"TZ": "UTC", "NO_COLOR": "1"}
SAID = """\
import { count, duration, percent } from './tracelens/assets/units.js';
const given = JSON.parse(process.argv[1]);
const whole = given.nano.filter(Number.isInteger);
console.log(JSON.stringify([given.nano.map(duration), whole.map(count), given.shares.map(percent)]));
"""


def node(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", *arguments], capture_output=True, text=True, env=ENVIRONMENT, cwd=cwd, check=False)


def test_the_pure_parts_hold() -> None:
    files = sorted(path.name for path in TESTS.glob("*.test.js"))
    assert files  # or Node would look for some itself
    ended = node("--test", *files, cwd=TESTS)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_components_write_numbers_as_the_command_line_does() -> None:
    """Of all sizes, at the bounds between units and digits, and where a number lies in the middle between two."""
    some = random.Random(1)
    bounds = [scale * edge for scale in (1, 10, 100) for edge in (999, 1_000, 999_499, 999_500, 9_994_999, 9_995_000)]
    middles = [0.5, 1.5, 412_500, 413_500, 12_250_000, 12_350_000, 1_125_000, 1_375_000, 1_000_500_000_000]
    nano = [0, 412_345, 8_214_999, 10**13, *bounds, *middles, *(int(10 ** some.uniform(0, 14)) for _ in range(2_000))]
    shares = [0, 0.0325, 0.03375, 0.0004, 0.001, 1, *(some.random() ** 4 for _ in range(500))]
    ended = node(
        "--input-type=module", "--eval", SAID, json.dumps({"nano": nano, "shares": shares}), cwd=TESTS.parents[1]
    )
    assert ended.returncode == 0, ended.stderr
    durations, counts, percents = json.loads(ended.stdout)
    assert durations == [duration(one) for one in nano]
    assert counts == [count(one) for one in nano if isinstance(one, int)]
    assert percents == [percent(one) for one in shares]
