"""Inference: images from layouts and photos, and files of these images.

`plan` finds and checks everything before Jittor is imported. `jobs` generates the images with a
`synthesizer`. `submission` and `interpolation` are the two kinds of output; `samples` renders the
sample sheets of a training. `evaluation` measures images with the networks of `metric_networks`.
"""
