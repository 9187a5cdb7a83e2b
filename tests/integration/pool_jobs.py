"""A job with a step of a pool, for the code server of `test_pools.py`."""

import time

import dagster as dg


@dg.op(pool="spark")
def compute() -> None:
    """The step of the pool, which never ends."""
    while True:
        time.sleep(0.1)


@dg.job(executor_def=dg.in_process_executor)
def features() -> None:
    """A job like those of feature groups."""
    compute()


defs = dg.Definitions(jobs=[features])
