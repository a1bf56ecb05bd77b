/* Lets a User-mode Linux of before 6.13 run on processors with AMX (preloaded into linux.uml).
 *
 * Such a kernel keeps 2696 bytes of its processes' vector registers. Where AMX makes the host's own area larger, the
 * host takes nothing but the whole (EFAULT). The tiles are never used here, since no program asks for the right to: what is
 * missing is filled up with zeros, which say "as after a start".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { XSTATE = 0x202, XSTATE_BV = 512, ROOM = 65536 };
/* Of the header's first word: x87, SSE, AVX, MPX, AVX-512 and PKRU, which lie within the first 2696 bytes. */
static const unsigned long KEPT = 0x2ff;

typedef long (*ptrace_call)(int, pid_t, void *, void *);
static unsigned char whole[ROOM] __attribute__((aligned(64)));
static size_t whole_size;

static long set_whole(ptrace_call call, pid_t pid, const struct iovec *given)
{
	struct iovec iov = {whole, ROOM};
	unsigned long present;

	if (whole_size == 0) {
		if (call(PTRACE_GETREGSET, pid, (void *)XSTATE, &iov) < 0)
			return -1;
		whole_size = iov.iov_len;
		memset(whole, 0, ROOM);
	}
	if (given->iov_len >= whole_size) {
		errno = EFAULT;
		return -1;
	}
	memcpy(whole, given->iov_base, given->iov_len);
	memcpy(&present, whole + XSTATE_BV, sizeof present);
	present &= KEPT;
	memcpy(whole + XSTATE_BV, &present, sizeof present);
	iov.iov_len = whole_size;
	return call(PTRACE_SETREGSET, pid, (void *)XSTATE, &iov);
}

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_call call;
	va_list arguments;
	long done;

	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);
	if (!call)
		call = (ptrace_call)dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || address != (void *)XSTATE)
		return call(request, pid, address, data);
	if (whole_size)
		return set_whole(call, pid, data);
	done = call(request, pid, address, data);
	return done < 0 && errno == EFAULT ? set_whole(call, pid, data) : done;
}
