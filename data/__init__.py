"""Files to batches: finds, checks, reads and resizes pairs with NumPy and Pillow, no Jittor."""
