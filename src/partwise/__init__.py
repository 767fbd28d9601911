"""partwise: one large file, uploaded in parallel chunks, becomes one verified, content-addressed artifact."""

__version__ = "0.1.0"
