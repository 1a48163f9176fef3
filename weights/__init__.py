"""Weights: file formats, snapshots, published checkpoints and pretrained backbones."""
