"""The use cases of partwise, over the ports of ``ports.py``: the first file to read."""
