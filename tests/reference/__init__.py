"""PyTorch references of the published networks, the golden files made from them, and their reader.

Nothing outside this package imports torch; `goldens` alone needs NumPy only and is what tests use.
"""
