"""The `sleepmem` command."""

from sleepmem.cli import demo, due, inspection, models, moving, nights, talk, trust
from sleepmem.cli.app import app

__all__ = ["app"]

# In the order of `sleepmem --help`.
_COMMANDS = (
    talk.observe,
    talk.ask,
    talk.chat,
    nights.sleep,
    due.nights,
    nights.review,
    inspection.status,
    inspection.report,
    inspection.verify,
    inspection.reindex,
    inspection.backup,
    nights.rollback,
    trust.why,
    trust.forget,
    trust.receipts,
    moving.export,
    moving.import_,
    models.fit,
    models.school,
    demo.demo,
)
for _command in _COMMANDS:
    # A docstring that is wrapped is one line of help.
    _help = " ".join((_command.__doc__ or "").split())
    app.command(_command.__name__.rstrip("_"), help=_help)(_command)
