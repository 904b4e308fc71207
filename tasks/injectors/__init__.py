"""The injectors family; see contract.py."""
