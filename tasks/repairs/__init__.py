"""The repairs family; see contract.py."""
