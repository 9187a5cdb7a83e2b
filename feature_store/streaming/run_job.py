"""Submits one Flink job: run by the Flink environment's Python, with a job spec on standard input.

In an application cluster it is the main program, with the path of the spec as its argument. It executes what the spec
says and imports nothing of the feature store. The last line it prints is the job's id. With `--check` before the path
it only translates the spec, and fails where Flink would refuse it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def submit(spec: dict[str, Any]) -> str:
    """Starts the inserts of a spec as one job and gives the job's id (hex)."""
    client = translate(spec).execute().get_job_client()
    return str(client.get_job_id())


def check(spec: dict[str, Any]) -> str:
    """Translates a spec into Flink's plan, which nothing runs, and gives the plan."""
    return str(translate(spec).explain())


def translate(spec: dict[str, Any]) -> Any:
    """Prepares the tables and views of a spec and gives its inserts as one set of statements."""
    from pyflink.common import Configuration
    from pyflink.table import EnvironmentSettings, TableEnvironment

    configuration = Configuration()
    for key, value in spec["config"].items():
        configuration.set_string(key, value)
    settings = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration).build()
    tables = TableEnvironment.create(settings)
    for step in spec["steps"]:
        if "view" in step:  # CREATE VIEW does not take the call of a process table function
            tables.create_temporary_view(step["view"], tables.sql_query(step["sql"]))
        else:
            tables.execute_sql(step["sql"])
    statements = tables.create_statement_set()
    for insert in spec["inserts"]:
        statements.add_insert_sql(insert)
    return statements


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    text = Path(arguments[0]).read_text(encoding="utf-8") if arguments else sys.stdin.read()
    execute = check if "--check" in sys.argv else submit
    sys.stdout.write(f"{execute(json.loads(text))}\n")
