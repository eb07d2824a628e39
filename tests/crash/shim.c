/* Preloaded into a step: counts the events by which files below a folder change, and kills the process before one.

   Of a write that is to be killed the first half is done, as a kill may tear it. crash_arm(folder, number) begins to
   count, crash_seen() says how many there were. Number 0 only counts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long wanted, seen;
static pid_t armed;

void crash_arm(const char *path, long number) {
    snprintf(folder, sizeof folder, "%s", path);
    wanted = number;
    seen = 0;
    armed = getpid();
}

long crash_seen(void) { return seen; }

static int below(const char *path) { return strncmp(path, folder, strlen(folder)) == 0; }

static int of_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}

static int of_name(int dir, const char *path) {
    char whole[PATH_MAX];
    if (path[0] == '/') return below(path);
    if (dir != AT_FDCWD) return of_fd(dir);
    if (!getcwd(whole, sizeof whole)) return 0;
    return below(whole);
}

/* Whether the event that comes now is the one to die before. */
static int due(void) { return __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) == wanted; }

static void die(void) {
    kill(armed, SIGKILL);
    for (;;) pause();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define BEFORE(concerned) do { if (armed == getpid() && (concerned) && due()) die(); } while (0)
#define CHANGES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & (O_CREAT | O_TRUNC)))

#define OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                     \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        BEFORE(CHANGES(flags) && of_name(AT_FDCWD, path));                           \
        return REAL(name)(path, flags, mode);                                        \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                 \
    int name(int dir, const char *path, int flags, ...) {                            \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        BEFORE(CHANGES(flags) && of_name(dir, path));                                \
        return REAL(name)(dir, path, flags, mode);                                   \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    if (armed == getpid() && of_fd(fd) && due()) {
        if (size > 1) (void)!REAL(write)(fd, data, size / 2);
        die();
    }
    return REAL(write)(fd, data, size);
}

int fsync(int fd) { BEFORE(of_fd(fd)); return REAL(fsync)(fd); }
int fdatasync(int fd) { BEFORE(of_fd(fd)); return REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t size) { BEFORE(of_fd(fd)); return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off_t size) { BEFORE(of_fd(fd)); return REAL(ftruncate64)(fd, size); }
int truncate(const char *path, off_t size) { BEFORE(of_name(AT_FDCWD, path)); return REAL(truncate)(path, size); }
int truncate64(const char *path, off_t size) { BEFORE(of_name(AT_FDCWD, path)); return REAL(truncate64)(path, size); }
int rename(const char *from, const char *to) { BEFORE(of_name(AT_FDCWD, to)); return REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) { BEFORE(of_name(b, to)); return REAL(renameat)(a, from, b, to); }
int unlink(const char *path) { BEFORE(of_name(AT_FDCWD, path)); return REAL(unlink)(path); }
int unlinkat(int dir, const char *path, int flags) { BEFORE(of_name(dir, path)); return REAL(unlinkat)(dir, path, flags); }
int rmdir(const char *path) { BEFORE(of_name(AT_FDCWD, path)); return REAL(rmdir)(path); }
int mkdir(const char *path, mode_t mode) { BEFORE(of_name(AT_FDCWD, path)); return REAL(mkdir)(path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { BEFORE(of_name(dir, path)); return REAL(mkdirat)(dir, path, mode); }
