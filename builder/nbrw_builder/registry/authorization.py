"""The header that lets us in: a token for this repository, or the password itself."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests

from nbrw_builder.registry.challenge import Challenge, choose, parse_challenges, scopes
from nbrw_builder.registry.credentials import Credentials, Found, find_credentials
from nbrw_builder.registry.errors import RegistryError, explain
from nbrw_builder.registry.reference import Reference
from nbrw_builder.registry.retry import PASSING, Passing, wait_asked_for

#: Sends one request: method, address, what is done, headers, data.
Send = Callable[[str, str, str, Mapping[str, str], Any], requests.Response]
_CLIENT = "nbrw"
_SMALL = 1 << 20


class Authorization:
    """Of one repository; asked for credentials only if the registry wants some."""

    def __init__(
        self,
        reference: Reference,
        send: Send,
        push: bool,
        sources: Iterable[str] = (),
        find: Callable[[Reference], Found] = find_credentials,
    ) -> None:
        self._reference = reference
        self._send = send
        self._scopes = scopes(reference.repository, push, sources)
        self._find = find
        self._found: Found | None = None
        self._header = ""
        self._lock = threading.Lock()

    @property
    def source(self) -> str:
        """Where the credentials come from; empty if there are none."""
        return self._found.credentials.source if self._found and self._found.credentials else ""

    @property
    def problems(self) -> tuple[str, ...]:
        """Why some that may be there could not be read."""
        return self._found.problems if self._found else ()

    def headers(self) -> dict[str, str]:
        """What to send to the registry, and to nobody else."""
        return {"Authorization": self._header} if self._header else {}

    def answer(self, headers: Mapping[str, str], act: str, used: str) -> bool:
        """Get what the refusal of a request asks for that was sent with the header ``used``; False
        if there is nothing (more) to try.

        Raises RegistryError, or Passing if the token server may answer later.
        """
        challenge = choose(parse_challenges(headers.get("WWW-Authenticate", "")))
        with self._lock:
            if self._found is None:
                self._found = self._find(self._reference)
            known = self._found.credentials
            if challenge is None:
                return False
            if self._header != used:
                return True  # another thread has got it meanwhile
            if challenge.scheme == "basic":
                if known is None or known.token:
                    return False
                self._header = _basic(known)
            else:
                self._header = f"Bearer {self._token(challenge, known, act)}"
            return self._header != used

    def _token(self, challenge: Challenge, known: Credentials | None, act: str) -> str:
        what = f"{act}: ask {challenge.realm} for a token"
        answer, data = self._ask(challenge, known, what, self._scopes)
        if answer.status_code in (400, 401, 403) and len(self._scopes) > 1:
            # Nothing is mounted from repositories that are not ours to read.
            self._scopes = self._scopes[:1]
            answer, data = self._ask(challenge, known, what, self._scopes)
        if answer.status_code != 200:
            error = explain(
                what, answer.status_code, data, credentials=self.source, problems=self.problems
            )
            if answer.status_code in PASSING:
                raise Passing(error, wait_asked_for(answer.headers))
            raise error
        try:
            value = json.loads(data)
            return str(value.get("token") or value["access_token"])
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise RegistryError(f"{what}: its answer has no token") from error

    def _ask(
        self, challenge: Challenge, known: Credentials | None, what: str, wanted: Iterable[str]
    ) -> tuple[requests.Response, bytes]:
        if known and known.token:
            form = {
                "grant_type": "refresh_token",
                "service": challenge.service,
                "client_id": _CLIENT,
                "refresh_token": known.token,
                "scope": " ".join(wanted),
            }
            answer = self._send("POST", challenge.realm, what, {}, form)
        else:
            service = [("service", challenge.service)] if challenge.service else []
            query = requests.models.PreparedRequest()
            query.prepare_url(challenge.realm, [*service, *(("scope", text) for text in wanted)])
            own = {"Authorization": _basic(known)} if known else {}
            answer = self._send("GET", query.url or challenge.realm, what, own, None)
        try:
            return answer, answer.raw.read(_SMALL)
        finally:
            answer.close()


def _basic(known: Credentials) -> str:
    text = f"{known.username}:{known.password}".encode()
    return "Basic " + base64.b64encode(text).decode()
