"""The heads family; see contract.py."""
