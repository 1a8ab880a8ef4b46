"""Who may look, who may change, and that it was really they who asked."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Collection, Mapping
from typing import Any, Callable, Union
from urllib.parse import quote

from ..exceptions import InvalidControl
from .http import Refused, Request

__all__ = ("COOKIE", "Access")

#: A page of ours says in a header what this cookie says; a page of others can neither read it nor send the header.
COOKIE = "concurrency_csrf"

May = Union[bool, Callable[[str], bool]]


class Access:
    """Checks requests.

    Args:
        users: Passwords by user name, asked for by the browser (HTTP Basic).
        authenticate: Gets the WSGI environment and returns who asks, or None.
        control: Whether limits may be changed; a callable is asked for each user.
        hosts: Names, without port, under which the page may be asked for; None for any.
        origins: Where the page may be served from besides the host that the browser asked: behind a proxy that
            passes on another.

    Raises:
        InvalidControl: Somebody may change limits, and nobody asks who they are.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None,
        authenticate: Callable[[dict[str, Any]], str | None] | None,
        control: May,
        hosts: Collection[str] | None,
        origins: Collection[str],
    ) -> None:
        if users is not None and authenticate is not None:
            raise InvalidControl("page", "authenticate", authenticate, "either users or authenticate, not both")
        if users is not None and not (users and all(_is_user(name, said) for name, said in users.items())):
            # Not with the value, which has passwords.
            raise InvalidControl("page", "users", "...", "a dict of passwords by user name: str, none of them empty")
        if authenticate is not None and not callable(authenticate):
            raise InvalidControl("page", "authenticate", authenticate, "a callable that gets the WSGI environment")
        if not isinstance(control, bool) and not callable(control):
            raise InvalidControl("page", "control", control, "True, False, or a callable that gets a user's name")
        if control and users is None and authenticate is None:
            expected = "users or authenticate beside it: nobody changes limits unnamed"
            raise InvalidControl("page", "control", control, expected)
        self._users = None if users is None else dict(users)
        self._authenticate, self._control = authenticate, control
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._origins = frozenset(origins)

    def user(self, request: Request) -> str | None:
        """Return who asks; None where nobody is asked.

        Raises:
            Refused: It is nobody who may look.
        """
        if self._hosts is not None and _without_port(request.host) not in self._hosts:
            # Otherwise a foreign page could look by a name of its own that leads to this machine.
            raise Refused(421, "this page is not served under this name")
        if self._users is not None:
            return self._by_password(request, self._users)
        if self._authenticate is None:
            return None
        user = self._authenticate(request.environ)
        if user is None:
            raise Refused(403, "you may not look at this page")
        if not isinstance(user, str) or not user:
            raise TypeError(f"authenticate returned {user!r}: expected the name of a user, or None")
        return user

    def _by_password(self, request: Request, users: Mapping[str, str]) -> str:
        scheme, _, said = request.header("Authorization").partition(" ")
        try:
            text = base64.b64decode(said.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
        except (binascii.Error, ValueError):
            text = ""
        name, _, password = text.partition(":")
        # Also for a name that nobody has: how long it takes tells nothing.
        right = hmac.compare_digest(users.get(name, secrets.token_hex()).encode(), password.encode())
        if not right or name not in users:
            raise Refused(401, "who are you?", ("WWW-Authenticate", 'Basic realm="concurrency", charset="UTF-8"'))
        return name

    def may_control(self, user: str | None) -> bool:
        """Say whether a user may change limits."""
        if user is None:
            return False
        return self._control if isinstance(self._control, bool) else bool(self._control(user))

    def check_change(self, request: Request, user: str | None) -> str:
        """Return who asks for a change.

        Raises:
            Refused: They may not, or another page has sent the request in their name.
        """
        if user is None or not self.may_control(user):
            raise Refused(403, "you may look, but not change anything")
        origin = request.header("Origin")
        scheme, _, host = origin.partition("://")  # that is all there is of an origin
        ours = scheme in ("http", "https") and host.lower() == request.host.lower()
        if not ours and origin not in self._origins:
            raise Refused(403, "the change was not asked for by this page")
        token = request.cookie(COOKIE)
        if not token or not hmac.compare_digest(token.encode(), request.header("X-CSRF-Token").encode()):
            raise Refused(403, "the change was not asked for by this page, or too long ago: load it again")
        return user

    def token(self, request: Request) -> list[tuple[str, str]]:
        """Return the headers that give a browser its token, where it has none."""
        if request.cookie(COOKIE):
            return []
        secure = "; Secure" if request.environ.get("wsgi.url_scheme") == "https" else ""
        path = quote(request.mount.encode("latin-1", "replace")) + "/"
        return [("Set-Cookie", f"{COOKIE}={secrets.token_urlsafe(24)}; Path={path}; SameSite=Strict{secure}")]


def _is_user(name: Any, password: Any) -> bool:
    return all(isinstance(said, str) and said for said in (name, password)) and ":" not in name


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name.strip("[]") if colon and port.isdigit() else host.lower().strip("[]")
