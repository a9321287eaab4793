"""A worker's outbox in a process of its own, to be killed: prints each number once its event is safe."""

import json
import sys
from pathlib import Path

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.actions.brokers import mqtt_target
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.receivers import webhook_target
from siwatsystem.config import OutboxSettings


def main() -> None:
    path, configs, first = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    outbox = Outbox(OutboxSettings(), path)
    mqtt = outbox.register(mqtt_target(configs["mqtt"]))
    webhook = outbox.register(webhook_target(configs["url"], None, False))
    number = first
    while True:
        burst = range(number, number + 5)
        for each in burst:
            said = {"message": str(each)}
            jobs = (
                Job("webhook", webhook, said),
                Job("mqtt_publish", mqtt, {"topic": "cars", "retain": False, **said}),
            )
            outbox.submit(OutboxEvent(jobs, lane=str(each % 3), event_id=str(each)))
        for each in burst:
            assert outbox.flush(str(each), 30)
            print(each, flush=True)
        number += 5


main()
