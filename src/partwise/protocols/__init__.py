"""The ways in, one folder each, and the table of them. See ``partwise.http.dialect`` for what one is made of."""

from __future__ import annotations

from partwise.http.dialect import MakeDialect
from partwise.protocols.box.routes import dialect as box
from partwise.protocols.drf.routes import dialect as drf
from partwise.protocols.fine.routes import dialect as fine
from partwise.protocols.pulp.routes import dialect as pulp
from partwise.protocols.resumable.routes import dialect as resumable
from partwise.protocols.tus.routes import dialect as tus

#: By the name that the setting ``dialects`` has for each.
DIALECTS: dict[str, MakeDialect] = {
    "pulp": pulp,
    "tus": tus,
    "drf": drf,
    "fine": fine,
    "box": box,
    "resumable": resumable,
}
