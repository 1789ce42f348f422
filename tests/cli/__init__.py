"""The commands that need no server, and what they say when there is none."""
