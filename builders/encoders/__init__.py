"""Encoding models: from a spectrogram to the spikes per bin of all cells of a population."""
