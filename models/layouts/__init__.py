"""Layouts: the content of an image, its neighborhoods, and features tabulated over them.

A layout has few different neighborhoods. Layers that see only the layout compute one column per
neighborhood (`tabulated_feature`) instead of one per pixel. The result is exact.
"""
