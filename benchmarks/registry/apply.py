"""How long `fs plan` and `fs apply` take for many groups, phase by phase.

Run: .fs/venv/bin/python -m benchmarks.registry.apply   (a running stack, ./fs up --no-dagster; half a minute)

500 groups of 20 features and a derived one, written as Python files of 25 groups each, with 10 sources, 5 entities and
100 views of 5 groups, are

- loaded: the files imported, the definitions built, and compiled to plans;
- planned against an empty registry and applied, in a database of their own that is dropped at the end;
- loaded by a new process and planned again, with no change, and with one group changed.

Exit code 1 if a budget is missed: load 10 s, apply 10 s, a plan of no change 3 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from feature_store.registry.store import Registry
from feature_store.settings import Settings

DATABASE = "registry_of_benchmark"
PACKAGE = "many_definitions"
GROUPS_PER_MODULE, SOURCES, ENTITIES = 25, 10, 5
BUDGETS = {"load": 10.0, "apply": 10.0, "plan, no change": 3.0}

SHARED = """
from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity
entities = [Entity(f"thing{n}", join_key=f"thing{n}_id", dtype=STRING) for n in range(%d)]
sources = [BatchSource(f"events_{n}", table=f"raw.events_{n}", event_timestamp="ts", event_id="event_id", schema={
    **{entity.join_key: STRING for entity in entities}, "event_id": STRING, "status": STRING, "amount": FLOAT,
    "quantity": INT, "ts": TIMESTAMP}) for n in range(%d)]
"""
GROUP = """
g{n} = FeatureGroup("group_{n}", entity=entities[{entity}], source=sources[{source}], owner="team:bench",
    description="The group number {n}.", where="status <> 'cancelled'", columns={{"net": "amount * 0.8"}}, features=[
{features}
    ], derived={{"{thing}_net_per_event": "{thing}_net_sum_30d / nullif({thing}_event_count_30d, 0)"}})
"""
AGGREGATES = (
    ("event_count", "count()", "INT", 'default=0, where="quantity > 1"'),
    ("net_sum", 'sum("net")', "FLOAT", "default=0.0"),
    ("amount_mean", 'mean("amount")', "FLOAT", "where=\"status = 'paid'\""),
    ("quantity_max", 'max("quantity")', "INT", 'expect={"min": 0}'),
)
WINDOWS = ("1d", "7d", "30d", "90d", "all_time")

# What a process of its own does, each phase timed from its first line on; the first argument is what to change.
PHASES = """
import json, sys, time
began = time.perf_counter()
from feature_store.dsl.collect import load_project
from feature_store.plan.project import compile_project
from feature_store.registry.store import Registry
seconds = {"import of the engine": time.perf_counter() - began}
def phase(name, action):
    began = time.perf_counter()
    done = action()
    seconds[name] = time.perf_counter() - began
    return done
url, package, apply = sys.argv[1:]
project = phase("import of the definitions", lambda: load_project(package))
compiled = phase("compile", lambda: compile_project(project))
registry = Registry(url)
plan = phase("plan", lambda: registry.plan(compiled))
if apply == "apply":
    phase("apply", lambda: registry.apply(plan, "benchmark"))
print(json.dumps({"seconds": seconds, "plan": str(plan), "features": sum(len(p.schema.features) for p in
    compiled.groups.values())}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=500)
    groups = parser.parse_args().groups
    with own_registry() as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_package(folder / PACKAGE, groups)
        first = _run(folder, url, "apply")
        again = _run(folder, url, "plan")
        changed = folder / PACKAGE / "groups_0.py"
        changed.write_text(changed.read_text().replace("number 0.", "number nought."))
        altered = _run(folder, url, "plan")
    print(f"{groups} groups, {first['features']:,} features with the derived ones")
    measured = {
        "load": first["seconds"]["import of the definitions"] + first["seconds"]["compile"],
        "apply": first["seconds"]["apply"],
        "plan, no change": again["seconds"]["plan"],
    }
    for title, run in (("empty registry", first), ("no change", again), ("one group changed", altered)):
        phases = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in run["seconds"].items())
        print(f"{title:18} {phases}: {run['plan']}")
    missed = {name for name, budget in BUDGETS.items() if measured[name] > budget}
    for name, seconds in measured.items():
        print(f"{name:18} {seconds:6.2f} s  of {BUDGETS[name]:.0f} s{'  MISSED' if name in missed else ''}")
    if missed:
        raise SystemExit(1)


def _run(folder: Path, url: str, what: str) -> dict[str, dict[str, float]]:
    """The phases of a new process, as it timed them."""
    began = time.perf_counter()
    command = [sys.executable, "-c", PHASES, url, PACKAGE, what]
    path = f"{folder}:{Path(__file__).parents[2]}"
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": path})
    result: dict[str, dict[str, float]] = json.loads(done.stdout)
    result["seconds"]["whole process"] = time.perf_counter() - began
    return result


def _write_package(folder: Path, groups: int) -> None:
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "shared.py").write_text(SHARED % (ENTITIES, SOURCES))
    head = f"from feature_store import FLOAT, INT, Feature, FeatureGroup, agg\nfrom {PACKAGE}.shared import *\n"
    for start in range(0, groups, GROUPS_PER_MODULE):
        numbers = range(start, min(start + GROUPS_PER_MODULE, groups))
        (folder / f"groups_{start // GROUPS_PER_MODULE}.py").write_text(head + "".join(map(_group, numbers)))
    modules = range(-(-groups // GROUPS_PER_MODULE))
    lines = ["from feature_store import FeatureView", *(f"from {PACKAGE}.groups_{n} import *" for n in modules)]
    lines += [
        f'v{view} = FeatureView("view_{view}", groups=[{_members(view)}], owner="team:bench")'
        for view in range(groups // ENTITIES)
    ]
    (folder / "views.py").write_text("\n".join(lines) + "\n")


def _members(view: int) -> str:
    """A group of each entity, so that no two features of a view share a name."""
    return ", ".join(f"g{view * ENTITIES + n}" for n in range(ENTITIES))


def _group(number: int) -> str:
    entity = number % ENTITIES
    features = [
        f'        Feature("thing{entity}_{name}_{window}", agg.{call}, window="{window}", dtype={dtype}, {more}),'
        for window in WINDOWS
        for name, call, dtype, more in AGGREGATES
    ]
    return GROUP.format(
        n=number, entity=entity, source=number % SOURCES, thing=f"thing{entity}", features="\n".join(features)
    )


@contextmanager
def own_registry() -> Iterator[str]:
    """A registry of the benchmark's own on the stack's server."""
    settings = Settings.load()
    server = create_engine(settings.database_url("postgres"), isolation_level="AUTOCOMMIT")
    drop = text(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    with server.connect() as connection:
        connection.execute(drop)
        connection.execute(text(f"CREATE DATABASE {DATABASE}"))
        try:
            url = settings.database_url(DATABASE)
            Registry(url).upgrade()
            yield url
        finally:
            connection.execute(drop)


if __name__ == "__main__":
    main()
