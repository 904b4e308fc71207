"""What expectations mean: Great Expectations over Arrow batches, and numbers counted in DuckDB over a whole table."""
