"""Storages: implementations of the storage port of partwise.engine.ports."""
