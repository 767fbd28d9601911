"""The admin page of documents."""

from __future__ import annotations

from django.contrib import admin

from .models import Document

admin.site.register(Document, list_display=("name", "owner", "artifact", "sha256"))
