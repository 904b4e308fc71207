"""The soft_labels family; see contract.py."""
