"""Requests to one repository of a registry: authentication, redirects, retries, errors.

Source: OCI distribution-spec v1.1; distribution project, "Token Authentication Specification".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from nbrw_builder import __version__
from nbrw_builder.registry.authorization import Authorization
from nbrw_builder.registry.errors import RegistryError, explain
from nbrw_builder.registry.lost import IMPOSTOR, cause_of, lost, not_believed, read
from nbrw_builder.registry.reference import Reference
from nbrw_builder.registry.retry import PASSING, Passing, retried, wait_asked_for
from nbrw_builder.registry.tls import tls_context

_TIMEOUT = (20.0, 90.0)  # seconds to connect, and between two pieces of an answer
_HOPS = 5
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Answer:
    """A small answer, whole."""

    status: int
    headers: Mapping[str, str]
    url: str
    body: bytes


@dataclass(frozen=True)
class Access:
    """How a registry is reached: one more file of ``authority`` certificates, or without TLS."""

    plain_http: bool = False
    authority: Path | None = None


SECURE = Access()


class _Adapter(HTTPAdapter):
    """Verifies with our context alone."""

    def __init__(self, host: str, access: Access) -> None:
        self._context = tls_context(host, access.authority)
        super().__init__(pool_connections=8, pool_maxsize=8)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, blocksize=_BLOCK, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(
            proxy, ssl_context=self._context, blocksize=_BLOCK, **options
        )

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Requests would add its own list of authorities here."""


class Client:
    """One repository. May be used by several threads; ``stop`` ends what waits to be retried."""

    def __init__(
        self,
        reference: Reference,
        access: Access = SECURE,
        *,
        push: bool = False,
        sources: Iterable[str] = (),
        stop: threading.Event | None = None,
    ) -> None:
        self.reference = reference
        self.stop = stop or threading.Event()
        self.base = f"{'http' if access.plain_http else 'https'}://{reference.api_host}"
        self._access = access
        self._session = requests.Session()
        # Nothing from files or the environment but proxies, asked for below: a `.netrc` would
        # send its passwords.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(reference.api_host, access)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        self._authorization = Authorization(reference, self._plain, push, sources)
        self._reached = False

    @property
    def plain_http(self) -> bool:
        """Whether it was asked for."""
        return self._access.plain_http

    def url(self, path: str) -> str:
        """An address of the repository's API."""
        return f"{self.base}/v2/{self.reference.repository}/{path}"

    def ask(
        self,
        method: str,
        url: str,
        act: str,
        ok: Iterable[int] = (200,),
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answer:
        """A small request and its whole answer, asked again if that may help.

        Raises RegistryError for an answer that is none of ``ok``; ``act`` begins its message.
        """

        def attempt() -> Answer:
            with self.once(method, url, act, ok, headers, data) as answer:
                body = read(answer, act)
                return Answer(answer.status_code, answer.headers, answer.url, body)

        return retried(attempt, self.stop)

    def once(
        self,
        method: str,
        url: str,
        act: str,
        ok: Iterable[int] = (200,),
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        body: Callable[[], Any] | None = None,
    ) -> requests.Response:
        """One request; its answer is read by the caller, who closes it. ``body`` makes the data
        for each time that it is sent.

        Raises RegistryError, or Passing for what may be another time.
        """
        answer = self._send(method, url, act, headers, body() if body else data)
        if answer.status_code == 401 and self.is_ours(answer.url):
            body_of_refusal = read(answer, act)
            used = str(answer.request.headers.get("Authorization", ""))
            if self._authorization.answer(answer.headers, act, used):
                answer = self._send(method, url, act, headers, body() if body else data)
            else:
                raise self._refused(answer, act, body_of_refusal)
        if answer.status_code in tuple(ok):
            return answer
        error = self._refused(answer, act, read(answer, act))
        if answer.status_code in PASSING:
            raise Passing(error, wait_asked_for(answer.headers))
        raise error

    def _refused(self, answer: requests.Response, act: str, body: bytes) -> RegistryError:
        return explain(
            act,
            answer.status_code,
            body,
            credentials=self._authorization.source,
            problems=self._authorization.problems,
        )

    def location(self, answer: Answer | requests.Response, act: str) -> str:
        """Where the answer says that it goes on."""
        text = answer.headers.get("Location")
        if not text:
            raise RegistryError(f"{act}: the registry does not say where to go on")
        return self.address(text, answer, act)

    def address(self, text: str, answer: Answer | requests.Response, act: str) -> str:
        """What an answer calls ``text``, as a whole address."""
        return self._checked(urljoin(answer.url or self.base, text), act)

    def is_ours(self, url: str | None) -> bool:
        """Whether an address is the registry's own, which alone is told who the caller is."""
        return urlsplit(url or "")[:2] == urlsplit(self.base)[:2]

    def _send(
        self, method: str, url: str, act: str, headers: Mapping[str, str] | None, data: Any
    ) -> requests.Response:
        """The answer, after redirects of what only reads."""
        answer = self._hop(method, url, act, headers, data)
        for _ in range(_HOPS):
            if not answer.is_redirect or method not in ("GET", "HEAD"):
                return answer
            url = self.location(answer, act)
            answer.close()
            answer = self._hop(method, url, act, headers, data)
        raise RegistryError(f"{act}: the registry redirects more than {_HOPS} times")

    def _hop(
        self, method: str, url: str, act: str, headers: Mapping[str, str] | None, data: Any
    ) -> requests.Response:
        # Whoever stores the blobs has no business with what the registry is told.
        own = self._authorization.headers() if self.is_ours(url) else {}
        answer = self._plain(method, url, act, {**(headers or {}), **own}, data)
        self._reached = True
        return answer

    def _plain(
        self, method: str, url: str, act: str, headers: Mapping[str, str], data: Any
    ) -> requests.Response:
        """One request as it is."""
        sent = {
            "User-Agent": f"nbrw/{__version__}",
            "Accept-Encoding": "identity",
            **headers,
        }
        try:
            return self._session.request(
                method,
                self._checked(url, act),
                headers=sent,
                data=data,
                stream=True,
                allow_redirects=False,
                timeout=_TIMEOUT,
                proxies=get_environ_proxies(url),
            )
        except requests.exceptions.SSLError as error:
            if any(sign in str(error) for sign in IMPOSTOR):
                raise not_believed(act, url, error) from error
            raise self.dropped(act, error) from error
        except requests.exceptions.RequestException as error:
            raise self.dropped(act, error) from error

    def dropped(self, act: str, error: Exception) -> Passing | RegistryError:
        """What a lost or refused connection means: before the first answer nothing passing."""
        cause = cause_of(error)
        found = RegistryError(
            f"{act}: {self.reference.api_host} is not reached: {cause}; check the name, the "
            "network and proxies"
            + ("" if self._access.plain_http else ", or --plain-http if it has no TLS")
        )
        return lost(act, error) if self._reached else found

    def _checked(self, url: str, act: str) -> str:
        """The address, never less protected than the registry's own."""
        parts = urlsplit(url)
        if parts.scheme == "https" or self._access.plain_http:
            return url
        if parts.scheme == "http" and parts.netloc == self.reference.api_host:
            # A registry behind a proxy that does not know what it is called outside.
            return parts._replace(scheme="https").geturl()
        raise RegistryError(
            f"{act}: the registry sends us to {parts.scheme}://{parts.netloc}, without TLS; "
            "ask those who run it, or allow it with --plain-http"
        )
