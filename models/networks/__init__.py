"""Generators, discriminator, style encoder and the VGG-19 features, one network a file."""
