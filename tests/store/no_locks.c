/* A drive without a lock service, for LD_PRELOAD: fcntl locks fail with $NO_LOCKS_ERRNO while $NO_LOCKS_WHILE exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static int refused(int command) {
    const char *file = getenv("NO_LOCKS_WHILE"), *number = getenv("NO_LOCKS_ERRNO");
    int locks = command == F_SETLK || command == F_SETLKW || command == F_GETLK;
    if (!locks || !file || access(file, F_OK) != 0) return 0;
    errno = number ? atoi(number) : ENOLCK;
    return 1;
}

#define WRAPPED(name)                                                     \
    int name(int file, int command, ...) {                                \
        static int (*next)(int, int, ...);                                \
        va_list arguments;                                                \
        va_start(arguments, command);                                     \
        void *argument = va_arg(arguments, void *);                       \
        va_end(arguments);                                                \
        if (refused(command)) return -1;                                  \
        if (!next) next = (int (*)(int, int, ...))dlsym(RTLD_NEXT, #name); \
        return next(file, command, argument);                             \
    }

WRAPPED(fcntl)
WRAPPED(fcntl64)
