"""The REST dialect in Pulp's shape: ``operations.py`` is the table of all calls, and the first file to read."""
