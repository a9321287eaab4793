"""What a refused request is answered with, for the generated description."""

from typing import Any

from pydantic import BaseModel, Field


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="For people")


def refusal(description: str) -> dict[str, Any]:
    """A response of the description."""
    return {"model": Refusal, "description": description}


GUARDED: dict[int | str, dict[str, Any]] = {
    401: refusal("A token is needed"),
    403: refusal("The token, or the page that asks, does not allow it"),
    429: refusal("Too many wrong tokens came from this address"),
}
"""What the access rules answer, before any route that needs a token is run."""
