"""Errors of expressions and queries."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

EXPRESSIONS = (
    Explanation(
        "syntax",
        "An expression or a query is not SQL",
        "The text could not be parsed.",
        'Correct it. A column whose name is a word of SQL stands in double quotes: "order".',
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", where="amount >", features=[order_count])',
    ),
    Explanation(
        "expression-type",
        "Types do not go together inside an expression",
        "Values are never converted silently: engines would do it differently. INT and FLOAT do go together.",
        "Compare and combine values of one type.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", where="status > 3", features=[order_count])',
    ),
    Explanation(
        "unsupported-operation",
        "An operation that not every engine can do, or not in the same way",
        "One definition is computed by Spark, by Flink and by the reference, and must give one result, each time. The "
        "language has only what all of them agree on; a query takes what docs/language.md lists under Queries, which "
        "is known to give the same for all instants at once as for each alone.",
        "Use what the message offers, or compute the column before it gets into the source.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", features=[order_count],\n'
        "             where=\"regexp_matches(status, 'ok')\")",
    ),
    Explanation(
        "literal",
        "A literal cannot be written like this",
        "A number does not fit 64 bits, a timestamp has no time zone, or hash_bucket has no number of buckets.",
        "Write what the message shows.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", features=[order_count],\n'
        "             where=\"ts > TIMESTAMP '2026-01-31 00:00:00'\")",
    ),
    Explanation(
        "clock",
        "A feature reads the clock",
        "Its value would change without an event, so no row would be written, and training would see another number "
        "than serving.",
        "Make it an on-demand feature of a view, over a stored timestamp and request_time (which is label_timestamp in "
        "training); or a group with query=, which writes a row for every entity at every instant, as_of.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop",\n'
        '             features=[Feature("user_order_last_all_time", agg.max("ts"),\n'
        '                               window="all_time", dtype=TIMESTAMP)],\n'
        '             derived={"user_order_age": "now() - user_order_last_all_time"})',
    ),
    Explanation(
        "cycle",
        "Columns or features are computed from each other in a circle",
        "None of them can be computed first.",
        "Compute one of them from other columns.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", features=[order_count],\n'
        '             columns={"net": "gross - 1", "gross": "net + 1"})',
    ),
    Explanation(
        "query",
        "A query is not of the form that can be evaluated at every instant",
        "A query group is one SELECT over the sources it lists; it returns the join key and one column for each "
        "feature, which then has no aggregation of its own. Its names and types must fit the "
        "schemas of its sources.",
        "Write SELECT …, or WITH … SELECT …, joined with ON, and name the columns after the features.",
        'FeatureGroup("user_profile", entity=user, sources=[orders],\n'
        '             query="SELECT user_id, amount AS x FROM orders",\n'
        '             owner="team:shop",\n'
        '             features=[Feature("user_x", dtype=FLOAT)])  # <-',
    ),
)
