"""Finds where parts end: key frames, silence, scene changes."""
