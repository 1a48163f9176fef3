"""Choice among checkpoints, averages, seeds and runs, for the submission of tools.select."""
