"""Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload) over the engine, with the drafts in the field."""
