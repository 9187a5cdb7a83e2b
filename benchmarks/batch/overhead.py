"""What a small run costs beside its computation: process, imports, Spark's start, the first job, writing a table.

Run: .fs/venv/bin/python -m benchmarks.batch.overhead   (a running stack, ./fs up --no-dagster; a minute)

Each round is a process of its own, as Dagster's runs are, which computes one day of 10,000 events of 1,000 users, the
same day again, and says how long each phase took.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.batch.setting import Load
from feature_store.settings import Settings

PHASES = """
import json, sys, time
began = time.perf_counter()
seconds = {}
def phase(name, action):
    began = time.perf_counter()
    done = action()
    seconds[name] = time.perf_counter() - began
    return done
def engine():
    import feature_store.offline.materialize, feature_store.offline.session, pyspark.sql
    from benchmarks.batch.setting import plan_over
def judges():
    import great_expectations
phase("import of the engine", engine)
from datetime import UTC, datetime
from pathlib import Path
from benchmarks.batch.setting import Load, plan_over
from feature_store.dtypes import from_micros
from feature_store.offline.catalog import open_catalog
from feature_store.offline.materialize import materialize_span
from feature_store.offline.session import spark_session
from feature_store.settings import Settings
folder, load = Path(sys.argv[1]), Load(*map(int, sys.argv[2:]))
settings, plan = Settings.load(), plan_over(folder, f"overhead_{datetime.now(UTC):%H%M%S%f}")
span, catalog = load.span(1), open_catalog(settings)
session = spark_session(settings, "overhead")
spark = phase("start of Spark", session.__enter__)
phase("Spark's first job", lambda: spark.range(10).count())
run = lambda: materialize_span(spark, settings, catalog, plan, from_micros(span.after), from_micros(span.until))
phase("first run", run)
phase("the same again", run)
phase("and again", run)
phase("import of great_expectations", judges)
catalog.drop_table(plan.schema.table)
session.__exit__(None, None, None)
print(json.dumps(seconds))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    load = Load(10_000, 1_000, 100)
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=Settings.load().home) as name:
        load.write(Path(name) / "events")
        for _ in range(rounds):
            command = [
                sys.executable,
                "-c",
                PHASES,
                f"{name}/events",
                str(load.events),
                str(load.users),
                str(load.days),
            ]
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            for phase, seconds in json.loads(done.stdout).items():
                measured.setdefault(phase, []).append(seconds)
    print(f"one day of {load}")
    for phase, times in measured.items():
        print(f"  {phase:30} {statistics.median(times):6.2f} s  ({min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    main()
