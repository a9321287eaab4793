"""A worker's outbox in a process of its own, to be killed: prints each number once its event is safe."""

import json
import sys
from pathlib import Path

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import postgresql_target, redis_target
from siwatsystem.config import OutboxSettings


def main() -> None:
    path, configs, first = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    outbox = Outbox(OutboxSettings(), path)
    redis = outbox.register(redis_target(configs["redis"]))
    postgresql = outbox.register(postgresql_target(configs["postgresql"]))
    number = first
    while True:
        burst = []
        for _ in range(10):
            burst.append(number)
            payload = {
                "table": "seen",
                "key_field": "number",
                "key_value": str(number),
                "fields": {"lane": str(number % 7)},
                "now": [],
            }
            image = Job("redis_save_image", redis, {"key": f"image:{number}"}, blob=bytes(20_000))
            record = Job("postgresql_update_combined", postgresql, payload)
            event = OutboxEvent((image, record), lane=str(number % 7), event_id=str(number))
            outbox.submit(event)
            number += 1
        for each in burst:
            assert outbox.flush(str(each), 30)
            print(each, flush=True)


main()
