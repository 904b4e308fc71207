"""Look at media: type from the bytes, facts, thumbnail and hash, decoded in a process that can be killed."""
