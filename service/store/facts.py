"""Facts, and the SQL of what each of their rows adds to measures."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.measures import Measure
from service.store.credits import movable, moved_numbers, moved_rows

Row = tuple[str, Measure, str, str]
"""SQL for one contribution: at, the measure, currency, value; the place is the fact's."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the rows of a fact add for which `condition` holds; others cost one test."""

    rows: tuple[Row, ...]
    condition: str = ""


def always(*rows: Row) -> tuple[Case, ...]:
    """The case of a fact of which every row adds the same."""
    return (Case(rows),)


@dataclass(frozen=True, slots=True)
class Fact:
    """One source of contributions, read from `table` under the row alias `r`.

    Rows with a NULL `at` or a value of 0 add nothing. `edge` is a predicate on `r` that keeps
    every row which may contribute inside `[:lo, :hi)` of site `:site_id`, and is cheap to find.

    `dim`, `detail` and `own` say where it is booked: the rollup dimensions, the detail, and the
    detail with its own props. What a `credited` fact adds belongs to the touches that brought it,
    so every attribution model moves some of it. With `lines` the amounts are those of an order's
    lines. The contributions of `detailed` facts have all columns, of others only the rollups'.
    """

    name: str
    table: str
    cases: tuple[Case, ...]
    edge: str
    dim: str = "r.dim_id"
    detail: str = "0::bigint"
    own: str = "0::bigint"
    credited: bool = False
    lines: bool = False
    detailed: bool = False

    @property
    def measures(self) -> frozenset[int]:
        """The stored numbers of what it adds to, with what models move."""
        added = frozenset(row[1] for case in self.cases for row in case.rows)
        return added | moved_numbers(added) if self.credited else added

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its contributions; the last one is `value`."""
        places = ("dim_id", "detail_id", "own_id", "product") if self.detailed else ("dim_id",)
        return ("at", "measure", "currency", *places, "value")

    @property
    def values(self) -> str:
        """What a row `r` adds: a lateral subquery with the alias `c`."""
        branches = [_branch(self, case) for case in self.cases]
        if self.lines:
            branches.append(
                f"SELECT f.at, f.measure, f.currency, {_place(self, 'f.product')}, f.value"
                f" FROM ({_OF_LINES}) AS f(at, measure, currency, product, value)"
            )
        if self.credited:
            branches.append(moved_rows(_amounts(self), detailed=self.detailed))
        return f"({' UNION ALL '.join(branches)}) AS c({', '.join(self.columns)})"


def _place(fact: Fact, product: str) -> str:
    return f"{fact.dim}, {fact.detail}, {fact.own}, {product}" if fact.detailed else fact.dim


def _branch(fact: Fact, case: Case) -> str:
    place = _place(fact, "''")
    rows = ", ".join(
        f"({at}, {int(measure)}::smallint, {currency}, {place}, ({value})::bigint)"
        for at, measure, currency, value in case.rows
    )
    if not case.condition:
        return f"VALUES {rows}"
    return f"SELECT * FROM (VALUES {rows}) AS v WHERE {case.condition}"


# A line is a product, its pieces and its amount; of the last two either may be null.
_OF_LINES = f"""
    SELECT a.at, a.measure, a.currency, line->>0, a.value
    FROM jsonb_array_elements(r.lines) AS line CROSS JOIN LATERAL (VALUES
        (r.occurred_at, {int(Measure.GROSS_REVENUE)}::smallint, r.currency, (line->>2)::bigint),
        (r.occurred_at, {int(Measure.UNITS)}::smallint, '', (line->>1)::bigint)
    ) AS a(at, measure, currency, value)
    WHERE NOT r.refund AND a.value <> 0"""


def rest_of_lines(total: str, place: int) -> str:
    """What the lines of an order leave of its total."""
    said = f"SELECT sum((line->>{place})::bigint) FROM jsonb_array_elements(r.lines) AS line"
    return f"{total} - coalesce(({said}), 0)"


def _amounts(fact: Fact) -> str:
    """All that a row adds, as a SELECT of `at, measure, currency, product, value` to be moved."""
    rows = ", ".join(
        f"({at}, {int(measure)}::smallint, {currency}, '', {movable(measure, value)})"
        for case in fact.cases
        for at, measure, currency, value in case.rows
    )
    if not fact.lines:
        return f"VALUES {rows}"
    units = f"{int(Measure.UNITS)}::smallint"
    return (
        f"VALUES {rows} UNION ALL SELECT l.at, l.measure, l.currency, l.product,"
        f" CASE WHEN l.measure = {units} THEN {movable(Measure.UNITS, 'l.value')} ELSE l.value END"
        f" FROM ({_OF_LINES}) AS l(at, measure, currency, product, value)"
    )


def contributions(fact: Fact, rows: str, value: str = "c.value") -> str:
    """A SELECT of the contributions of `rows` (a table, CTE or SELECT with the fact's columns).

    Columns: the fact's, with `value` as the value; nothing that adds nothing.
    """
    columns = ", ".join(f"c.{name}" for name in fact.columns[:-1])
    return (
        f"SELECT {columns}, {value} AS value"
        f" FROM {rows} AS r CROSS JOIN LATERAL {fact.values}"
        " WHERE c.at IS NOT NULL AND c.value <> 0"
    )


def edge_contributions(fact: Fact) -> str:
    """A SELECT of everything that falls inside `[:lo, :hi)`, from facts instead of rollups."""
    return (
        f"{contributions(fact, fact.table)}"
        f" AND r.site_id = :site_id AND ({fact.edge}) AND c.at >= :lo AND c.at < :hi"
    )
