"""OpenTelemetry traces of frames on their way; nothing of it is loaded unless `tracing.endpoint` is set."""
