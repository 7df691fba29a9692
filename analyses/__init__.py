"""One file a question: a record, history or scores -> a tidy table. Nothing here draws."""
