"""Untrusted files -> tensors -> a variant's module. Reading one executes nothing in it."""
