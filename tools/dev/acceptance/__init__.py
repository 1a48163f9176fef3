"""The parts of tools.dev.gpu_acceptance: child processes and loss plots."""
