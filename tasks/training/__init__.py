"""The one loop that trains heads on stored features."""
