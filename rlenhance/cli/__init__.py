"""The commands of `rlenhance`, one file each: `add` describes it, `run` does it and gives the exit status.

A command that cannot be done raises UsageError before anything is written; `main` prints it, with status 2.

At their top level they import the standard library alone, so that help is instant.
"""
