"""The work: verbs are modules (Prefect tasks), nouns are packages (families of methods)."""
