"""OpenTelemetry traces of requests; imported where the environment asks for them, but for `settings`."""
