"""Layers that the networks share; each docstring names the layer's paper."""
