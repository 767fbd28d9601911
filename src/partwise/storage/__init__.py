"""Where bytes live: each module implements the storage port of partwise.engine.ports."""
