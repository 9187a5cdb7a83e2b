"""How fast batch is: `python -m benchmarks.batch.<windows|instants|overhead|online>`."""
