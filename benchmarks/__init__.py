"""Measurements: what Xmodal costs and what it reaches. Each module prints its table; none is a test."""
