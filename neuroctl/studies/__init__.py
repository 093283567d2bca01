"""What a run in a folder needs, whatever it searches with: the folder, its history, and how Ctrl-C ends it."""
