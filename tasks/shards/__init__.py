"""What runs on workers: a shard in, a shard out. No Prefect and no database, so a worker starts quickly."""
