"""Files to batches: find, check, read and resize the pairs. NumPy and Pillow; no Jittor."""
