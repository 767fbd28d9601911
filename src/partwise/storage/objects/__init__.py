"""Uploads and artifacts as immutable objects, over any store that ``store.ObjectStore`` describes."""
