"""Replacements of tools.dev.imitate_gpu for a GPU, its libraries and nvcc."""
