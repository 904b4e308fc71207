"""The dividers family; see contract.py."""
