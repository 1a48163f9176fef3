"""The mathematics: layers, networks, losses and the methods that combine them.

Nothing here knows a path, a clock, a print or a command-line flag.
"""
