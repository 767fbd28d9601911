"""The host's own tables: documents, and the events that were dealt with."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Document(models.Model):
    """A file that a user wants to add; ``artifact`` is there once it has arrived."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    name = models.CharField(max_length=200)
    upload = models.CharField(max_length=36, unique=True)
    artifact = models.CharField(max_length=36, default="")
    sha256 = models.CharField(max_length=64, default="")

    def __str__(self) -> str:
        return self.name


class Inbox(models.Model):
    """The ids of events that were dealt with, so that a repeat changes nothing."""

    event = models.CharField(max_length=64, primary_key=True)
