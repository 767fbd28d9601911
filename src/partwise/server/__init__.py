"""The ASGI application and all that surrounds it: settings, authentication, limits, start-up."""
