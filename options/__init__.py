"""Options of a run: typed and frozen, with their flags, their JSON and the schedule files.

Standard library only, so that `--help` and errors in flags need no import of Jittor.
"""
