"""Cleaning a dataset: which pairs of photograph and layout are worth training on, and why.

measures   what one pair's files say of it: named numbers with formula, unit and range
evidence   how the pair's classes look against the rest of the dataset (random forests, OpenCV)
duplicates layouts alike in groups (union-find), and who stays of a group
verdicts   thresholds from the dataset's own distribution, or to meet a share; the selections
faults     plants known faults in clean pairs, to measure all this by
survey     reads a dataset in parallel processes; its findings are kept in a cache by content
"""
