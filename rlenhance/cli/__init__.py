"""The commands of `rlenhance`, one file each: `add` describes it, `run` does it and gives the exit status.

At their top level they import the standard library alone, so that help is instant.
"""
