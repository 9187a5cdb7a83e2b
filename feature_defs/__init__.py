"""Definitions: one package per domain."""
