"""The measurements of tools.dev.benchmark and tools.dev.gpu_acceptance."""
