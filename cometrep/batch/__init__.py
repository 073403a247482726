"""Batches: many inputs in one process, resumable to the item."""
