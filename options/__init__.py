"""What a run is: typed, frozen options, their flags, their JSON and the schedule files.

Standard library only, so that `--help` and a wrong flag are answered before Jittor is imported.
"""
