"""`POST /login` and `/logout`: browsers, which cannot send a token with pictures and WebSockets, get a
cookie for one."""

import time
from typing import Literal

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from siwatsystem.web.access import COOKIE, TOO_MANY, guesses_of, logins_of, peer_of, same_origin, tried

router = APIRouter(tags=["login"])


class Credentials(BaseModel):
    """What a person typed."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=4096, description="The control or the view token")


class LoggedIn(BaseModel):
    role: Literal["view", "control"]


@router.post(
    "/login",
    responses={
        401: {"description": "No such token"},
        403: {"description": "Asked by a page of another site"},
        429: {"description": "Too many wrong tokens came from this address"},
    },
)
async def login(request: Request, response: Response, credentials: Credentials) -> LoggedIn:
    """Trade a token for a cookie (HttpOnly, SameSite=Strict) that lasts while it is used."""
    if not same_origin(request.headers):
        raise HTTPException(403, "a page of another site may not log in")
    settings = request.app.state.settings
    known = [one for one in (settings.control_token, settings.view_token) if one is not None]
    if not known:
        raise HTTPException(401, "no token is set: nobody needs to log in")
    roles = tried(peer_of(request.scope), credentials.token, settings, guesses_of(request))
    if roles is None:
        raise HTTPException(429, TOO_MANY, {"Retry-After": "1"})
    role: Literal["view", "control"] | None = None
    if "control" in roles and settings.control_token is not None:
        role = "control"
    elif "view" in roles:
        role = "view"
    if role is None:
        raise HTTPException(401, "no such token")
    name = logins_of(request).begin(role, time.monotonic())
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, name, httponly=True, samesite="strict", secure=secure, path="/")
    return LoggedIn(role=role)


@router.post("/logout", status_code=204)
async def logout(request: Request, response: Response) -> None:
    """End the login that the cookie stands for; only our own pages may ask for that."""
    if not same_origin(request.headers):
        return
    logins_of(request).end(request.cookies.get(COOKIE))
    response.delete_cookie(COOKIE, path="/")
