"""Runs in a folder, whatever the search: the folder, its history, and interrupts."""
