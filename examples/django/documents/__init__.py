"""The Django application of the example."""
