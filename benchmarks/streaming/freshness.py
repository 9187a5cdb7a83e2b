"""How long after an event its features can be read from Redis, at a slide of 1 s, and where the time goes.

Run: .fs/venv/bin/python -m benchmarks.streaming.freshness [--rate 300] [--seconds 60] [--rounds 3]

Events are sent at a steady rate with the clock's time, each of a user of its own; Redis is asked all the time for the
users that are still to come. The whole way is the real one: Kafka, the group's job with RocksDB and commits every
10 s, the topic of updates, the loader, Redis. Each latency is taken apart:

- slide: from the event to the end of its second, the row's feature timestamp T;
- out-of-orderness: the source's, 500 ms, for which events before T are waited for;
- Flink: until the kernel has made the row (the next heartbeat, the watermark's way, the timers before it);
- to Redis: from the kernel to the reader, by Kafka and the loader.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Producer

from benchmarks.streaming.flink_runs import prepare
from benchmarks.streaming.setting import PARTITIONS, Workbench, delete_folder, event_json, show, until, workbench
from feature_store.dtypes import to_micros
from feature_store.errors import StackError
from feature_store.online.connection import connect
from feature_store.online.keys import entity_key
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import CREATED_TIMESTAMP

POLL_SECONDS = 0.002
ARRIVAL_SECONDS = 30.0


@dataclass
class Seen:
    """When an event happened and when its user was in Redis (microseconds)."""

    user: str
    at: int
    seen: int = 0


def main() -> None:
    given = _arguments()
    with workbench() as bench:
        stream = bench.source("live", heartbeats=True)
        plan = bench.group(stream)
        bench.record(plan)
        wanted, job = prepare(bench, plan)
        job_id = bench.flink.submit(job, wanted.config(bench.store.settings.flink_state))
        bench.jobs.append(job_id)
        until(lambda: _is_running(bench, job_id), "the job does not run")
        print(
            f"{given.rate:g} events/s, each of a new user, for {given.seconds:g} s; {given.rounds} rounds", flush=True
        )
        measure(bench, plan, "w", given.rate, given.warm_up)
        rounds = [measure(bench, plan, f"r{number}", given.rate, given.seconds) for number in range(given.rounds)]
        savepoint = bench.cluster.stop(job_id, f"{bench.store.settings.flink_state}/savepoints")  # commits the rest
        delete_folder(savepoint)
        created = created_times(bench, plan)
    report(plan, rounds, created)


def measure(bench: Workbench, plan: GroupPlan, prefix: str, rate: float, seconds: float) -> list[Seen]:
    """Sends events for a while and waits for all of them.

    Raises:
        StackError: if one does not arrive.
    """
    sent: list[Seen] = []
    assert plan.stream is not None
    sending = threading.Thread(target=_send, args=(bench, plan.stream.topic, prefix, rate, seconds, sent))
    sending.start()
    waiting: dict[str, Seen] = {}
    taken = 0
    deadline = time.monotonic() + seconds + ARRIVAL_SECONDS
    with connect(bench.store.settings.redis_url) as redis:
        while waiting or sending.is_alive() or taken < len(sent):
            new = sent[taken:]
            taken += len(new)
            waiting |= {str(entity_key(plan.schema, {"user_id": event.user})): event for event in new}
            pipeline = redis.pipeline(transaction=False)
            for key in waiting:
                pipeline.exists(key)
            found = pipeline.execute()
            now = time.time_ns() // 1000
            for key in [key for key, there in zip(waiting, found, strict=True) if there]:
                waiting.pop(key).seen = now
            if time.monotonic() > deadline:
                raise StackError(f"{len(waiting)} of {taken} events do not arrive in Redis", code="benchmark")
            time.sleep(POLL_SECONDS)
    sending.join()
    return sent


def created_times(bench: Workbench, plan: GroupPlan) -> dict[str, int]:
    """When the kernel made each user's first row (microseconds)."""
    table = bench.store.catalog.load_table(plan.schema.table)
    rows = table.scan(selected_fields=("user_id", CREATED_TIMESTAMP)).to_arrow().sort_by(CREATED_TIMESTAMP).to_pylist()
    return {row["user_id"]: to_micros(row[CREATED_TIMESTAMP]) for row in reversed(rows)}


def report(plan: GroupPlan, rounds: list[list[Seen]], created: dict[str, int]) -> None:
    assert plan.stream is not None
    disorder = plan.stream.out_of_orderness_size

    def parts(event: Seen) -> tuple[int, ...]:
        step = event.at // plan.slide * plan.slide + plan.slide
        made = created[event.user]
        return event.seen - event.at, step - event.at, disorder, made - step - disorder, event.seen - made

    taken = [np.array([parts(event) for event in events]) / 1000 for events in rounds]
    print(f"event to readable in Redis, {sum(map(len, rounds)):,} events; slide 1 s")
    for name, share in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)):
        show(name, [float(np.percentile(one[:, 0], share)) for one in taken], "ms")
    print("where it goes (p50; p99 in brackets)")
    together = np.concatenate(taken)
    for column, name in enumerate(("slide", "out-of-orderness", "Flink", "to Redis"), start=1):
        p50, p99 = np.percentile(together[:, column], [50, 99])
        print(f"  {name:38} {p50:12,.0f} ms   ({p99:,.0f})")


def _send(bench: Workbench, topic: str, prefix: str, rate: float, seconds: float, sent: list[Seen]) -> None:
    producer = Producer({"bootstrap.servers": bench.topics.servers, "linger.ms": 0, "log_level": 0})
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        event = Seen(f"{prefix}u{number}", time.time_ns() // 1000)
        producer.produce(
            topic, event_json(event.user, number % 40, 100 + number, event.at), partition=number % PARTITIONS
        )
        producer.poll(0)
        sent.append(event)
    producer.flush(ARRIVAL_SECONDS)


def _is_running(bench: Workbench, job_id: str) -> bool:
    return all(vertex["status"] == "RUNNING" for vertex in bench.cluster.get(f"/jobs/{job_id}")["vertices"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=300.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of one round")
    parser.add_argument("--warm-up", type=float, default=15.0, help="seconds before the first round")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
