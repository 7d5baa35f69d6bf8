"""Audit: who came in, who was refused, who changed what others depend on; a line for each.

The lines have the name `parley.audit` and are written whatever LOG_LEVEL is; `audit` is a stable
word (docs/identity.md, Audit log). Ids and identifiers, never what somebody wrote, never a secret.
"""

import logging

import structlog

_NAME = "parley.audit"
logging.getLogger(_NAME).setLevel(logging.INFO)


def audit(event: str, **details: object) -> None:
    """Write one line: what happened, to whom and why."""
    structlog.wrap_logger(
        logging.getLogger(_NAME),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).info("Audit", audit=event, **details)
