"""How fast the streams are: `python -m benchmarks.streaming.<throughput|freshness|cost|backfill>`."""
