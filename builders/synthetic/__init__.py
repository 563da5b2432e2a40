"""Synthetic recordings, in the layout of the published ones."""
