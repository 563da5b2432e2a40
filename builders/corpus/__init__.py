"""What a corpus is: its builder, configs and registration, and what is on disk of it."""
