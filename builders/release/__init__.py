"""A corpus' raw files: in a folder of the user's, or fetched from Zenodo."""
