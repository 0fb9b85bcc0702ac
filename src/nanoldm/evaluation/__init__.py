"""Metrics with intervals and floors, reports, comparison of samplers, feature networks, doctor."""
