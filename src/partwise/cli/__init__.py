"""The partwise command: thin commands over the client and the server."""
