"""Rows of records, cells and stimuli, and the Parquet files they are kept in."""
