"""What validates the corpus."""
