"""How fast many definitions are loaded and recorded: `python -m benchmarks.registry.apply`."""
