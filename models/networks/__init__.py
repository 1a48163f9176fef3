"""Generators, discriminators, style encoder and VGG-19: one network per file."""
