"""A corpus written to a folder, an object store or the Hugging Face Hub."""
