"""Layers that the networks share, each after the paper that its docstring names."""
