"""The miners family; see contract.py."""
