"""Eyes: pages on the lake. Reads tables and may borrow methods; never runs tasks."""
