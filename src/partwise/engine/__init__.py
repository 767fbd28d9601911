"""The use cases of partwise, over the ports in ``ports/``: the first file to read."""
