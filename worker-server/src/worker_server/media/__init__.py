"""The clip: what a source is, how it is cut, and the renderers that make the parts."""
