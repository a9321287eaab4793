"""What an event causes outside the worker: images and messages in Redis, records in PostgreSQL, messages
over MQTT, to Kafka and to receivers of webhooks.

Built by `build` out of the configuration models of `spec`, kept on disk by `outbox`, carried out by
the drivers that `registry` names. A new kind of action is a model in `spec`, a function in `build`,
a branch in its server's driver and a line in `registry`.
"""
