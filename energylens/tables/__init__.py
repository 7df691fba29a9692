"""Records, histories and scores -> tidy tables, one file a question."""
