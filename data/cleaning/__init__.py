"""Dataset cleaning: decides which pairs of photo and layout are worth training on, with reasons.

segments, measures  numbers of one pair, each with formula, unit and range
class_consistency   the pair's classes compared with the rest of the dataset (random forests)
duplicates          groups of similar layouts (union-find), and which of a group are kept
decisions           thresholds from the dataset's own distribution, or for target shares
scan                reads a dataset in parallel; results are cached by content
pipeline, report    the selections, tables and the HTML report
faults, evaluation  inject known faults into clean pairs to evaluate all this
"""
