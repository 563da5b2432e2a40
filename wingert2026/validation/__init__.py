"""Published facts about wingert2026, and a second reader of its releases."""
