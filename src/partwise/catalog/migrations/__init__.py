"""The steps from each schema to the next; ``schema.migrate`` applies them."""
