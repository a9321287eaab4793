"""What pipelines stand on: the archive store, the model registry, the outbox, the embedded servers."""

import logging
from collections.abc import Callable

from siwatsystem.config import Settings
from siwatsystem.loading import PipelineKey
from siwatsystem.pipeline.executor import Pipeline

log = logging.getLogger(__name__)
