"""The admin door: HTTP on root's own socket, for Prometheus, probes and the ``sharedrt`` CLI.

The one door that sees all namespaces. Nothing here is given to CRI, Docker or tenants.

=======================================  ==============================================================
GET  /metrics                            Prometheus's text format
GET  /healthz, /readyz                   200 ``ok``, or 503 and why not
GET  /v1/version, /v1/check              this daemon and host; what the host lacks
GET  /v1/namespaces                      with labels and counts
POST, DELETE /v1/namespaces/NAME         make (``{"labels": {}}``) and remove
GET  /v1/containers, pods, images,       of all namespaces, or of ``?namespace=NAME``
     content
GET  /v1/events                          one JSON object a line; ``?namespace=``, ``?since_ns=``
POST /v1/images/pull                     ``{"namespace": .., "reference": .., "platform": ..}``
POST /v1/images/import?namespace=NAME    an archive as body
DELETE /v1/images?namespace=&reference=  ``&force=true``
POST /v1/stop-all                        all pods and containers; ``?namespace=``
=======================================  ==============================================================

Answers are JSON: ``{"items": [...]}``, or ``{"error": {"code": .., "message": ..}}`` with the matching status. Pull
and import answer 200 at once and then one object a line: ``{"progress": {..}}`` and at last ``{"images": [..]}`` or
``{"error": ..}``.
"""

from sharedrt.edges.admin.door import AdminDoor
from sharedrt.edges.admin.probes import Check, Ready

__all__ = ["AdminDoor", "Check", "Ready"]
