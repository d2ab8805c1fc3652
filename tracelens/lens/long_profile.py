"""The critical-path profile of a long window: sums of hours, added up.

Owns that names are read once a node, not once a row: a profile of a month has
ten million rows of a few hundred nodes, and paths are most of their bytes.
"""

from __future__ import annotations

import polars as pl

from tracelens.analysis.labels import NODE
from tracelens.analysis.profile import PROFILE_BUCKETS, merge
from tracelens.analysis.rollups import HOUR_NANO
from tracelens.lens.routes import Route
from tracelens.store.rollups import Rollup

OF_NODE = ("parent", "path", *NODE)  # the same wherever a node is
NAMED = pl.Schema({name: PROFILE_BUCKETS[name] for name in ("node", *OF_NODE)})


def sums(kept: Rollup, bounds: tuple[int, int], last: str, fresh: pl.DataFrame, route: Route | None) -> pl.DataFrame:
    """Return PROFILE_BUCKETS of a route, or of first calls of traces.

    kept: PROFILE_CELLS of hours, those of arrival up to `last`; fresh: more of them.
    """
    wanted = pl.col("entry_service").is_null()
    if route is not None:
        wanted = (pl.col("entry_service") == route[0]) & (pl.col("entry_route") == route[1])
    more = fresh.filter(wanted)
    wanted &= pl.col("start_unix_nano").is_between(*bounds, closed="left")
    files = kept.holding(*bounds, last=last)  # the same for rows and names, whatever comes or goes meanwhile
    rows = pl.concat([kept.read(files).filter(wanted).drop(OF_NODE), more.lazy().drop(OF_NODE)]).collect()
    unnamed = [pl.lit(None, NAMED[name]).alias(name) for name in OF_NODE]
    added = merge([rows.with_columns(*unnamed, route=pl.lit(None, pl.String)).select(PROFILE_BUCKETS.names())])
    named = [more.select(NAMED.names()).unique("node")]
    waiting = rows.group_by("node").agg(hour=pl.col("start_unix_nano").min())
    while len(waiting := waiting.join(named[-1], on="node", how="anti")):
        # Of the hour that most of those left were first seen in; most nodes are in every hour.
        hour = int(waiting["hour"].mode().to_list()[0])
        some = [file for file in files if file.first_nano < hour + HOUR_NANO and file.last_nano >= hour]
        of_hour = kept.read(some).filter(wanted).select(NAMED.names())
        left = waiting.lazy().select("node")
        named.append(of_hour.join(left, on="node", how="semi").unique("node").collect())
    found = added.drop(OF_NODE).join(pl.concat(named), on="node", how="left", validate="m:1", maintain_order="left")
    return found.select(PROFILE_BUCKETS.names())
