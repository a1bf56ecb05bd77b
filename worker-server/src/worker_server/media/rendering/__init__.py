"""The renderers: each makes the clip of one part."""
