/* Loaded beside libfaketime, which does not know the waits of C11 threads that librdkafka uses: their deadline is of
 * the false clock and must become one of the kernel's. FALSE_CLOCK_SECONDS says how far the clock is off. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *deadline)
{
    static int (*wait)(cnd_t *, mtx_t *, const struct timespec *);
    static long off;
    if (!wait) {
        const char *text = getenv("FALSE_CLOCK_SECONDS");
        off = text ? atol(text) : 0;
        *(void **)&wait = dlsym(RTLD_NEXT, "cnd_timedwait");
    }
    struct timespec real = *deadline;
    real.tv_sec -= off;
    return wait(condition, mutex, &real);
}
