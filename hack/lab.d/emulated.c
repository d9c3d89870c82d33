// What an emulated machine needs beside its processor: command lines that look as on a real one, and a clock of its
// own. qemu makes a system call of the host for each one of the machine's programs; this library is loaded into qemu.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

// By how many seconds the machine's clock is wrong, as text in a file, which may change at any time.
static const char *shift_text;

static long shift(void) { return shift_text ? strtol(shift_text, NULL, 10) : 0; }

__attribute__((constructor)) static void begin(int count, char **words) {
    int file = open("/etc/clock-shift", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) shift_text = page;
        close(file);
    }
    // The kernel shows this memory as the command line, which begins with qemu and the path of the program.
    if (count < 3) return;
    char *start = words[0], *own = words[2], *end = words[count - 1] + strlen(words[count - 1]) + 1;
    for (int n = 0; n < count; n++) words[n] = strdup(words[n]);
    memmove(start, own, (size_t)(end - own));
    memset(end - (own - start), 0, (size_t)(own - start));
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *at) {
    static __typeof__(&clock_gettime) real;
    if (!real) real = REAL(clock_gettime);
    int result = real(clock, at);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    int result = REAL(gettimeofday)(at, zone);
    if (result == 0) at->tv_sec += shift();
    return result;
}

// Files have the times of the host's clock.
static int shifted(int result, struct stat64 *file) {
    if (result == 0) {
        file->st_atim.tv_sec += shift();
        file->st_mtim.tv_sec += shift();
        file->st_ctim.tv_sec += shift();
    }
    return result;
}

int stat64(const char *restrict path, struct stat64 *restrict file) { return shifted(REAL(stat64)(path, file), file); }
int fstat64(int fd, struct stat64 *file) { return shifted(REAL(fstat64)(fd, file), file); }
int fstatat64(int dir, const char *restrict path, struct stat64 *restrict file, int flags) {
    return shifted(REAL(fstatat64)(dir, path, file, flags), file);
}

static void move(struct timespec *at, long by) {
    if (at->tv_nsec != UTIME_NOW && at->tv_nsec != UTIME_OMIT) at->tv_sec += by;
}

// What libc has no function for, or qemu does not use it.
long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    struct timespec times[2];
    if (number == SYS_utimensat && c) {
        times[0] = ((struct timespec *)c)[0];
        times[1] = ((struct timespec *)c)[1];
        move(&times[0], -shift());
        move(&times[1], -shift());
        c = (long)times;
    }
    long result = real(number, a, b, c, d, e, f);
    if (number == SYS_statx && result == 0) {
        struct statx *file = (struct statx *)e;
        file->stx_atime.tv_sec += shift();
        file->stx_btime.tv_sec += shift();
        file->stx_ctime.tv_sec += shift();
        file->stx_mtime.tv_sec += shift();
    }
    return result;
}
