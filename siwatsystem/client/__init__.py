"""A small typed client of the worker's protocol, for backends: see `Client`."""

from siwatsystem.client.client import Client
from siwatsystem.client.errors import (
    ClientError,
    Disconnected,
    NoAnswer,
    NoImage,
    PatchRefused,
    Refused,
    Unauthorized,
    Unreachable,
)
from siwatsystem.client.feeds import Feed
from siwatsystem.client.reading import Unreadable, WorkerError
from siwatsystem.messages import CameraConnection, ImageDetection, PatchSessionOut, StateReport

__all__ = [
    "CameraConnection",
    "Client",
    "ClientError",
    "Disconnected",
    "Feed",
    "ImageDetection",
    "NoAnswer",
    "NoImage",
    "PatchRefused",
    "PatchSessionOut",
    "Refused",
    "StateReport",
    "Unauthorized",
    "Unreachable",
    "Unreadable",
    "WorkerError",
]
