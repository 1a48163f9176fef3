"""The mathematics: layers, networks, losses, and the GANs that combine them.

The rooms, lowest first; a room imports only from rooms above it in this list:

    kernels    CPU kernels in C++, 16-bit precision, reductions, nearest-neighbor sampling
    layouts    semantic layouts, their neighborhoods, and feature maps tabulated over them
    layers     convolutions, norms, resampling, residual blocks
    networks   generators, discriminators, style encoder, VGG-19
    losses     losses as pure functions of network outputs
    gans       per publication: the networks that are trained together, and the losses of each side

No module reads a path, a clock or a command-line flag, and none prints. Only `gans` reads options.
"""
