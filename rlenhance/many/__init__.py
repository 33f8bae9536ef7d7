"""Photographs by the million: a ledger of what is done, files of object stores, and processes on Ray."""
