"""A rival: the change-point algorithm as a PyFlink KeyedProcessFunction, its rows thrown away.

Run by the Flink environment's Python, with a spec like that of `feature_store/streaming/run_job.py` on standard input;
the last line it prints is the job's id. Window 30 min, slide 1 s; count, sum, mean, last and top_k(3), recomputed from
the tiles at each change point. It knows no lateness: what comes behind the watermark is passed over.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pyflink.common import Configuration, Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.state import MapStateDescriptor
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

SLIDE = 1_000
WINDOW = 30 * 60 * 1_000


class Windows(KeyedProcessFunction):  # type: ignore[misc]
    """Tiles of one second by their ends in milliseconds: count, sum, time and value of the last event, categories."""

    def open(self, runtime_context: RuntimeContext) -> None:
        self.tiles = runtime_context.get_map_state(
            MapStateDescriptor("tiles", Types.LONG(), Types.PICKLED_BYTE_ARRAY())
        )

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        _, at, amount, category = value
        end = at // 1000 // SLIDE * SLIDE + SLIDE
        timers = ctx.timer_service()
        if timers.current_watermark() >= end - 1:
            return
        tile = self.tiles.get(end)
        if tile is None:
            tile = (0, 0.0, (-1, ""), {})
            timers.register_event_time_timer(end - 1)
            timers.register_event_time_timer(end + WINDOW - 1)
        count, total, last, categories = tile
        categories[category] = categories.get(category, 0) + 1
        self.tiles.put(end, (count + 1, total + amount, max(last, (at, category)), categories))
        yield from ()

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        boundary = timestamp + 1
        self.tiles.remove(boundary - WINDOW)
        count, total, last, categories = 0, 0.0, (-1, ""), Counter[str]()
        for end, tile in self.tiles.items():
            if end <= boundary:
                count += tile[0]
                total += tile[1]
                last = max(last, tile[2])
                categories.update(tile[3])
        top = sorted(categories, key=lambda name: (-categories[name], name))[:3]
        mean = total / count if count else None
        yield Row(ctx.get_current_key(), boundary, count, total, mean, last[1] if count else None, ",".join(top))


def submit(spec: dict[str, Any]) -> str:
    """Starts the job and gives its id (hex)."""
    configuration = Configuration()
    for key, value in spec["config"].items():
        configuration.set_string(key, value)
    # Asked for one, PyFlink's own get_execution_environment starts a cluster inside this process.
    java = get_gateway().jvm.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment
    environment = StreamExecutionEnvironment(java(configuration._j_configuration))  # noqa: SLF001
    tables = StreamTableEnvironment.create(environment)
    for step in spec["steps"]:
        if step["view"]:
            tables.create_temporary_view(step["view"], tables.sql_query(step["sql"]))
        else:
            tables.execute_sql(step["sql"])
    events = tables.to_data_stream(tables.sql_query("SELECT user_id, _at, amount, category FROM events"))
    names = ["user_id", "feature_ms", "n", "total", "mean", "last_value", "top"]
    types = [Types.STRING(), Types.LONG(), Types.LONG(), Types.DOUBLE(), Types.DOUBLE(), Types.STRING(), Types.STRING()]
    rows = events.key_by(lambda row: row[0], Types.STRING()).process(Windows(), Types.ROW_NAMED(names, types))
    tables.create_temporary_view("row_stream", tables.from_data_stream(rows))
    tables.execute_sql(
        "CREATE TEMPORARY TABLE nothing (user_id STRING, feature_ms BIGINT, n BIGINT, total DOUBLE, mean DOUBLE, "
        "`last_value` STRING, top STRING) WITH ('connector' = 'blackhole')"
    )
    statements = tables.create_statement_set()
    statements.add_insert_sql(
        "INSERT INTO nothing SELECT user_id, feature_ms, n, total, mean, `last_value`, top FROM row_stream"
    )
    return str(statements.execute().get_job_client().get_job_id())


if __name__ == "__main__":
    sys.stdout.write(f"{submit(json.load(sys.stdin))}\n")
