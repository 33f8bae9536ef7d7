"""The tasks that experiments train on, one file each."""
