"""PyTorch references of the published networks, the golden files made from them, and a reader.

Only this package imports torch. `goldens`, which the tests use, needs NumPy alone.
"""
