"""Submits Flink jobs: run by the Flink environment's Python, and imports nothing of the feature store.

In an application cluster it is the main program, with the path of a job spec as its argument: it executes what the spec
says. With `--check` before the path it only translates the spec, and fails where Flink would refuse it.

With `--serve` it stays and answers requests, one after the other, because Flink's planner takes ten seconds to start
and two for a job: a line of JSON with `execute` and `spec` on standard input, then two lines on standard output,
`{"taken": true}` and the result or the error. It ends with its input, when nothing was asked for `IDLE_SECONDS`, and
after `REQUESTS` requests, since Flink gives back little of what a translation took.
"""

from __future__ import annotations

import gc
import json
import os
import select
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

IDLE_SECONDS = 300.0
REQUESTS = 30


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


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answers requests until they end, none comes for a while, or there were many."""
    for _ in range(REQUESTS):
        if not select.select([requests], [], [], IDLE_SECONDS)[0] or not (line := requests.readline()):
            return
        answers.write('{"taken": true}\n')
        answers.flush()
        request = json.loads(line)
        execute = {"submit": submit, "check": check}[request["execute"]]
        try:
            answer = {"result": execute(request["spec"])}
        except Exception:  # of any kind: it is for the one who asked
            answer = {"error": traceback.format_exc()}
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()
        gc.collect()  # lets Java forget what Python no longer names


def main(arguments: list[str]) -> None:
    """Serves, or executes one spec."""
    if arguments == ["--serve"]:
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # Java writes warnings there, which are no answers
        serve(sys.stdin, answers)
        return
    execute = check if arguments[0] == "--check" else submit
    spec = json.loads(Path(arguments[-1]).read_text(encoding="utf-8"))
    sys.stdout.write(f"{execute(spec)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
