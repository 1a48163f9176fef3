"""Kernels, the lowest room: C++ for the CPU, 16-bit precision, reductions, sampling."""
