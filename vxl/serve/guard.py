"""Who may use the server: those who have the key; without one, programs and pages of this server alone.

A browser sends requests for any page that is open in it. Without a key, one that another page sends is
refused (its Origin is not this server), and one to a name that was made to point here, too (DNS
rebinding).
"""

import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request

from vxl.serve.request_error import RequestError


class Guard:
    """Lets requests in or not.

    Args:
        key: What clients must send; None where anybody is let in.
        hosts: Names by which the server may be reached, beside addresses and localhost.
    """

    def __init__(self, key: str | None, hosts: Sequence[str]) -> None:
        self.key, self.hosts = key, {"localhost", *(host.lower() for host in hosts)}

    def check(self, request: Request) -> None:
        """Raises RequestError for a request that is not let in."""
        if self.key is not None:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), self.key.encode())
            if scheme.lower() != "bearer" or not right:
                raise RequestError("the key is missing or wrong:  Authorization: Bearer KEY", status=401)
            return
        host = request.headers.get("host", "")
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
        except ValueError:
            name = ""
        if name not in self.hosts and not _is_address(name):
            raise RequestError(f"the server is not known as {name!r}; it can be:  hosts={name}", status=403)
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise RequestError("pages of other servers may not use this one.", status=403)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
