"""The laboratory: benchmarks, GPU checks and the fault campaign."""
