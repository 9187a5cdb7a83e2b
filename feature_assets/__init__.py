"""Definitions as Dagster assets, checks, jobs and schedules."""
