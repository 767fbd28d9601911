"""The upload client: plans chunks, transfers them in parallel and resumes what was cut."""
