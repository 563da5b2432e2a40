"""Published facts about nat4, and a second reader of its releases."""
