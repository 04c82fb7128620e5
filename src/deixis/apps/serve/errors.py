"""What a client is told when something is wrong: what was found, how to mend it, and nothing else."""

from __future__ import annotations

import http
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from deixis.errors import DeixisError

__all__ = ["RequestError", "answer", "install"]

_CURES = {
    400: "Send JSON as /openapi.json describes it.",
    404: "See /openapi.json for all addresses.",
    405: "See /openapi.json for the method of each address.",
}


class RequestError(DeixisError):
    """A request that is not answered.

    Args:
        status: of HTTP.
        found: as for `DeixisError`.
        cure: as for `DeixisError`.
        headers: that go with the answer, such as `Retry-After`.
    """

    def __init__(self, status: int, found: str, cure: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(found, cure)
        self.status, self.headers = status, dict(headers or {})

    def __reduce__(self) -> tuple[type[RequestError], tuple[int, str, str, dict[str, str]]]:  # type: ignore[override]
        return type(self), (self.status, self.found, self.cure, self.headers)


def answer(status: int, found: str, cure: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The one form that all errors have."""
    return JSONResponse({"error": {"found": found, "cure": cure}}, status, dict(headers or {}))


def install(app: FastAPI) -> None:
    """Gives all that goes wrong for a known reason its status and form."""
    app.add_exception_handler(DeixisError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)


async def _known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DeixisError)
    if isinstance(error, RequestError):
        return answer(error.status, error.found, error.cure, error.headers)
    return answer(422, error.found, error.cure)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a body or an address; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return answer(400, f"The body is no JSON: {first['ctx']['error']}.", _CURES[400])
    place = ".".join(str(part) for part in first["loc"])
    return answer(422, f"{place}: {first['msg']}.", "See /openapi.json for what is taken.")


async def _plain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = error.status_code
    phrase = http.HTTPStatus(status).phrase
    found = str(error.detail or phrase)
    return answer(status, f"{found.rstrip('.')}.", _CURES.get(status, ""), error.headers)
