"""HTTP dialects: each parses the request, calls the engine, renders the answer, and does nothing else."""
