/* Preloaded into a program: its n-th call that changes the file system below a folder fails.

   FAULT_FOLDER    the folder, an absolute path; calls on other files are unaffected
   FAULT_COUNTER   a file of 8 bytes that all processes of the program map: the calls so far
   FAULT_AT        n, from 1; 0 only counts
   FAULT_KIND      kill   SIGKILL before the call
                   tear   SIGKILL after it; for a write, after half of its bytes
                   full   this call and all later ones write and create nothing: ENOSPC
                   error  only this call fails, with EIO

   It counts write, writev, pwrite, fsync, ftruncate, rename, unlink, rmdir, mkdir, and open if it
   creates a file. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { KILL, TEAR, FULL, ERROR };
enum outcome { PROCEED, FAIL, TORN };

static const char *folder;
static unsigned long *counter, at;
static enum kind fault;

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULT_COUNTER"), *number = getenv("FAULT_AT"),
             *kind = getenv("FAULT_KIND");
  int file = path ? NEXT(open)(path, O_RDWR) : -1;
  folder = getenv("FAULT_FOLDER");
  if (file < 0 || !folder || !number || !kind) return;
  void *mapped = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  at = strtoul(number, NULL, 10);
  fault = !strcmp(kind, "kill")   ? KILL
          : !strcmp(kind, "tear") ? TEAR
          : !strcmp(kind, "full") ? FULL
                                  : ERROR;
  if (mapped != MAP_FAILED) counter = mapped;
}

static int is_below(const char *path) {
  size_t length = strlen(folder);
  return !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int file_is_below(int file) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return is_below(path);
}

static int name_is_below(int directory, const char *name) {
  char path[PATH_MAX];
  if (!counter || !name) return 0;
  if (name[0] == '/') return is_below(name);
  if (directory != AT_FDCWD) return file_is_below(directory);
  if (!getcwd(path, sizeof path)) return 0;
  size_t length = strlen(path);
  snprintf(path + length, sizeof path - length, "/%s", name);
  return is_below(path);
}

/* The outcome of a call; `makes` is true if it needs disk space. */
static enum outcome decide(int below, int makes) {
  if (!counter || !below) return PROCEED;
  unsigned long number = __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
  if (!at || number < at) return PROCEED;
  if (fault == FULL && makes) {
    errno = ENOSPC;
    return FAIL;
  }
  if (number > at || fault == FULL) return PROCEED;
  if (fault == KILL) kill(getpid(), SIGKILL);
  if (fault == TEAR) return TORN;
  errno = EIO;
  return FAIL;
}

static void die(void) { kill(getpid(), SIGKILL); }

#define CALL(type, below, makes, real, half) \
  switch (decide(below, makes)) {            \
    case FAIL:                               \
      return (type)-1;                       \
    case TORN:                               \
      (void)!(half);                         \
      die(); /* fallthrough */               \
    default:                                 \
      return real;                           \
  }

ssize_t write(int file, const void *bytes, size_t count) {
  CALL(ssize_t, counter && file_is_below(file), 1, NEXT(write)(file, bytes, count),
       NEXT(write)(file, bytes, count / 2))
}

ssize_t writev(int file, const struct iovec *parts, int count) {
  CALL(ssize_t, counter && file_is_below(file), 1, NEXT(writev)(file, parts, count),
       NEXT(writev)(file, parts, count / 2))
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t place) {
  CALL(ssize_t, counter && file_is_below(file), 1, NEXT(pwrite)(file, bytes, count, place),
       NEXT(pwrite)(file, bytes, count / 2, place))
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t place) {
  CALL(ssize_t, counter && file_is_below(file), 1, NEXT(pwrite64)(file, bytes, count, place),
       NEXT(pwrite64)(file, bytes, count / 2, place))
}

int fsync(int file) {
  CALL(int, counter && file_is_below(file), 0, NEXT(fsync)(file), NEXT(fsync)(file))
}

int ftruncate(int file, off_t size) {
  CALL(int, counter && file_is_below(file), 0, NEXT(ftruncate)(file, size),
       NEXT(ftruncate)(file, size))
}

int rename(const char *old, const char *new) {
  CALL(int, name_is_below(AT_FDCWD, new), 0, NEXT(rename)(old, new), NEXT(rename)(old, new))
}

int renameat(int from, const char *old, int to, const char *new) {
  CALL(int, name_is_below(to, new), 0, NEXT(renameat)(from, old, to, new),
       NEXT(renameat)(from, old, to, new))
}

int unlink(const char *name) {
  CALL(int, name_is_below(AT_FDCWD, name), 0, NEXT(unlink)(name), NEXT(unlink)(name))
}

int unlinkat(int directory, const char *name, int flags) {
  CALL(int, name_is_below(directory, name), 0, NEXT(unlinkat)(directory, name, flags),
       NEXT(unlinkat)(directory, name, flags))
}

int rmdir(const char *name) {
  CALL(int, name_is_below(AT_FDCWD, name), 0, NEXT(rmdir)(name), NEXT(rmdir)(name))
}

int mkdir(const char *name, mode_t mode) {
  CALL(int, name_is_below(AT_FDCWD, name), 1, NEXT(mkdir)(name, mode), NEXT(mkdir)(name, mode))
}

#define OPEN(function, directory, arguments)                         \
  mode_t mode = 0;                                                   \
  if (flags & (O_CREAT | O_TMPFILE)) {                               \
    va_list rest;                                                    \
    va_start(rest, flags);                                           \
    mode = va_arg(rest, mode_t);                                     \
    va_end(rest);                                                    \
  }                                                                  \
  int creates = (flags & O_CREAT) && name_is_below(directory, name); \
  CALL(int, creates, 1, NEXT(function) arguments, NEXT(function) arguments)

int open(const char *name, int flags, ...) { OPEN(open, AT_FDCWD, (name, flags, mode)) }
int open64(const char *name, int flags, ...) { OPEN(open64, AT_FDCWD, (name, flags, mode)) }
int openat(int directory, const char *name, int flags, ...) {
  OPEN(openat, directory, (directory, name, flags, mode))
}
int openat64(int directory, const char *name, int flags, ...) {
  OPEN(openat64, directory, (directory, name, flags, mode))
}
