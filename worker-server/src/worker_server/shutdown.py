"""Whether this worker is being stopped: set in its main process, seen by the children it forked."""

from billiard import get_context

stopping = get_context().Event()
