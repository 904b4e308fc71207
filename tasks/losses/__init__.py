"""The losses family; see contract.py."""
