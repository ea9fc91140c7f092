"""Channels of evidence, one a file: a function from `Responses` to `Similarity`, or None with nothing to compare.

Channels are found through the entry-point group ``harness.channels``, so that others can add one.
"""
