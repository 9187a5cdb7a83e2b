"""What dies in the middle of a run: the bucket, or all workers. Rows appear whole or not at all."""

from __future__ import annotations

import pytest

from tests.conftest import Eventually
from tests.integration.cluster import runs
from tests.integration.cluster.driver import Driver
from tests.integration.cluster.own_bucket import Bucket
from tests.integration.cluster.own_spark import SparkCluster
from tests.integration.offline_setting import Shop, day

CUT, LOST = "user_cut", "user_lost"
MANY_BUCKETS = 64


def data_of(bucket: Bucket, name: str) -> set[str]:
    return {each for each in bucket.names() if f"/{name}_v1/data/" in each}


def test_a_bucket_that_dies_in_a_write_shows_nothing_of_it(
    driver: Driver, here: Shop, bucket: Bucket, eventually: Eventually
) -> None:
    running = driver.begin(runs.run, CUT, 0, runs.DAYS, MANY_BUCKETS)
    eventually(lambda: data_of(bucket, CUT))
    bucket.server.kill()
    with pytest.raises(Exception, match=f":{bucket.server.port}"):
        running.result()
    bucket.server.start()
    assert data_of(bucket, CUT), "it was in the middle"
    assert driver.call(runs.stored, CUT) == []
    driver.call(runs.run, CUT, 0, runs.DAYS, MANY_BUCKETS)
    assert driver.call(runs.stored, CUT) == here.expected(runs.windowed(here, CUT), day(0), day(runs.DAYS))


def test_a_run_whose_workers_die_goes_on_with_others(
    driver: Driver, here: Shop, bucket: Bucket, cluster: SparkCluster, eventually: Eventually
) -> None:
    running = driver.begin(runs.run, LOST, 0, runs.DAYS, MANY_BUCKETS)
    eventually(lambda: data_of(bucket, LOST))
    for worker in cluster.workers:
        cluster.kill(worker)
    assert not running.done(), "it was in the middle"
    for worker in cluster.workers:
        worker.start()
    running.result()
    assert driver.call(runs.stored, LOST) == here.expected(runs.windowed(here, LOST), day(0), day(runs.DAYS))
