"""Context of every handler: the site, and the paths of its calls."""

from __future__ import annotations

from dataclasses import dataclass

from partwise.core.errors import NotFound
from partwise.http.dialect import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Api(Site):
    """The site with the paths of this dialect."""

    @property
    def prefix(self) -> str:
        """The path that all calls begin with. Begins and ends with a slash."""
        return self.api_prefix

    def href(self, kind: str, id_: str) -> str:
        """The site-relative path of an upload, artifact or task."""
        return f"{self.base}{self.prefix}{kind}/{id_}/"

    def id_of(self, kind: str, href: str) -> str:
        """The id in a path made by ``href``; also takes the bare id. NotFound when it is neither."""
        bare = href.removeprefix(self.base).removeprefix(f"{self.prefix}{kind}/").removesuffix("/")
        if not bare or "/" in bare:
            raise NotFound(kind.removesuffix("s"))
        return bare
