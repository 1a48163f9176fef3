"""What `python -m tools.benchmark` measures, each in a module with a `run`."""
