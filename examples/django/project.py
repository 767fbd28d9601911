"""partwise beside Django: ``python project.py``; documents at /documents, uploads below /files, the admin at /admin.

A view makes a row and an upload, and hands a ticket to the browser. The event fills the row in, in one transaction
with the note that it was dealt with.
"""

from __future__ import annotations

import json
import os
from typing import Any

import django
from django.conf import settings

DATA = os.path.abspath(os.environ.get("EXAMPLE_DATA", "example-data"))

settings.configure(
    SECRET_KEY=os.environ.get("EXAMPLE_SECRET", "only-for-the-example"),
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{DATA}/host.db"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "documents",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from asgiref.sync import sync_to_async  # noqa: E402 (Django wants its settings first)
from django.contrib import admin  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.db import close_old_connections, transaction  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from documents.models import Document, Inbox  # noqa: E402
from starlette.requests import Request  # noqa: E402

from partwise.embed import BoundedProtocol, Event, Partwise, Settings  # noqa: E402


@sync_to_async
def user_of(request: Request) -> str | None:
    """Who makes a request below /files: Django's own session tells."""
    from django.contrib.auth import get_user_model

    session = SessionStore(request.cookies.get(settings.SESSION_COOKIE_NAME))
    user = get_user_model().objects.filter(pk=session.get("_auth_user_id"), is_active=True).first()
    return None if user is None else str(user.get_username())


files = Partwise(Settings.of(data=f"{DATA}/partwise"), base_path="/files", identity=user_of, page=True)


@files.on("upload.completed")
def completed(event: Event) -> None:
    """Fill the row in and note the event, in one transaction."""
    close_old_connections()
    try:
        with transaction.atomic():
            _, is_new = Inbox.objects.get_or_create(event=event.id)
            if is_new:
                Document.objects.filter(upload=event.data["upload"]).update(
                    artifact=event.data["artifact"], sha256=event.data["sha256"]
                )
    finally:
        close_old_connections()


@csrf_exempt  # it takes JSON alone, which no form of another site sends
async def documents(request: HttpRequest) -> JsonResponse:
    """List the user's documents; or begin one, with a ticket for the browser that sends its bytes."""
    user = await request.auser()
    if not user.is_authenticated:
        return JsonResponse({"detail": "Sign in."}, status=401)
    if request.method == "GET":
        rows = [row async for row in Document.objects.filter(owner=user).values("name", "artifact", "sha256")]
        return JsonResponse({"documents": rows})
    if request.content_type != "application/json":
        return JsonResponse({"detail": "Send JSON."}, status=415)
    wish = json.loads(request.body)
    upload = await files.create_upload(user.get_username(), size=wish["size"], filename=wish["name"])
    await Document.objects.acreate(owner=user, name=wish["name"], upload=upload.id)
    return JsonResponse({"upload": upload.id, "ticket": await files.make_ticket(upload.id)}, status=201)


urlpatterns = [path("admin/", admin.site.urls), path("documents", documents)]

_django = get_asgi_application()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Requests below /files, and the lifespan, which Django has none of, are partwise's."""
    if scope["type"] == "lifespan" or scope["path"].startswith("/files/"):
        await files.app(scope, receive, send)
    else:
        await _django(scope, receive, send)


if __name__ == "__main__":
    import uvicorn
    from django.core.management import call_command

    os.makedirs(DATA, exist_ok=True)
    call_command("migrate", run_syncdb=True, verbosity=0)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), http=BoundedProtocol)
