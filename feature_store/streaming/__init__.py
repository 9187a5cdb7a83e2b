"""Streams: Flink jobs of groups and event logs, from their start to their recovery, and the way of rows into Redis."""
