"""What tools.imitate_gpu puts in the place of a GPU, its libraries and nvcc."""
