"""HTTP dialects: each parses a request, calls the engine and renders the answer; nothing else."""
