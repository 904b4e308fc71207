"""Contracts: what is stored, exchanged and configured. Imports nothing of ours."""
