"""tus 1.0 (https://tus.io/protocols/resumable-upload) over the engine: ``routes.py`` is where a request comes in."""
