"""What selected calls have in common that the rest has not, attribute by attribute."""

from __future__ import annotations

import polars as pl

CONTRAST = pl.Schema(
    {
        "attribute": pl.String,
        "value": pl.String,
        "selected": pl.Float64,  # share of the selected calls that have the value
        "rest": pl.Float64,  # share of the others
        "selected_calls": pl.Int64,
        "rest_calls": pl.Int64,
        "lift": pl.Float64,  # selected / rest; null when the rest never has it
    }
)

MAX_VALUES = 200  # an attribute with more values, or with one for every other call, is an id, not a cause


def comparable(calls: pl.DataFrame) -> pl.DataFrame:
    """Return the attributes that can tell calls apart, of the same rows, ready to be compared again and again.

    calls: as `contrast` takes them. Of attributes that do not change with what is chosen, ids are left out.
    """
    known = [name for name in calls.columns if not _is_id(calls[name])]
    return calls.select(pl.col(known).cast(pl.Categorical))


def _is_id(values: pl.Series) -> bool:
    """Whether an attribute has a value of its own for about every call, or very many values."""
    different = values.drop_nulls().n_unique()
    return different > MAX_VALUES or different * 2 > len(values) - values.null_count()


def contrast(calls: pl.DataFrame, chosen: pl.Series) -> pl.DataFrame:
    """Return CONTRAST: for each attribute its most different value, most different first.

    calls: one row a call, one column of texts an attribute. chosen: True for the selected rows.
    Attributes whose values do not differ are left out.
    """
    n_selected, n_rest = int(chosen.sum()), len(chosen) - int(chosen.sum())
    if n_selected == 0 or n_rest == 0:
        return CONTRAST.to_frame()
    best = [
        row for name in calls.columns if (row := _most_different(calls[name], chosen, n_selected, n_rest)) is not None
    ]
    if not best:
        return CONTRAST.to_frame()
    rows = pl.concat(best)
    distance = (pl.col("selected") - pl.col("rest")).abs()
    return rows.select(CONTRAST.names()).cast(CONTRAST).sort(distance, "attribute", descending=[True, False])


def _most_different(values: pl.Series, chosen: pl.Series, n_selected: int, n_rest: int) -> pl.DataFrame | None:
    """Return the row of the value whose shares differ most; None for an id, or when none differs."""
    if values.dtype == pl.String and _is_id(values):
        return None
    counted = (
        pl.DataFrame({"value": values, "chosen": chosen})
        .lazy()
        .drop_nulls("value")
        .group_by("value")
        .agg(
            selected_calls=pl.col("chosen").sum().cast(pl.Int64),
            rest_calls=pl.col("chosen").not_().sum().cast(pl.Int64),
        )
        .with_columns(selected=pl.col("selected_calls") / n_selected, rest=pl.col("rest_calls") / n_rest)
        .with_columns(lift=pl.when(pl.col("rest_calls") > 0).then(pl.col("selected") / pl.col("rest")))
        .with_columns(pl.col("value").cast(pl.String), attribute=pl.lit(values.name))
        .collect()
    )
    first = counted.sort((pl.col("selected") - pl.col("rest")).abs(), "value", descending=[True, False]).head(1)
    return first.filter(pl.col("selected") != pl.col("rest")).select(CONTRAST.names()) if len(first) else None
