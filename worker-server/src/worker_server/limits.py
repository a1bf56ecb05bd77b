"""Limits that several packages need."""

# Four hours in parts of one second are 14,400; overlapping segments could ask for millions.
MAX_PARTS = 20_000
# Of pictures with a longer side, in pixels, a machine decodes those of one part at a time: a render
# of 4K takes up to 800 MiB, one of 8K up to 1.4 GiB (docs/performance.md), and two of those would
# exceed the container's limit, RENDER_MEMORY.
LARGE_SIDE = 4096
# Of all items of a batch: 500 that inherit 500 segments of the batch would take 1 GB of memory.
MAX_BATCH_SEGMENTS = 50_000
