"""Where records live: SQL tables, queries and migrations that implement the catalog port."""
