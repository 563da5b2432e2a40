"""The recording format: archives, signals, epochs, spike times and their bins."""
