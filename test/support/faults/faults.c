// Copyright 2026 The lfm_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Lets operations on the files in one folder fail, in a process that has this library preloaded.
// What may fail is counted: the test runs once to count, then lets the first fail, the second, ...

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

// Set by the test through ctypes.
char faults_folder[PATH_MAX];  // empty: nothing is counted
long faults_count;             // operations so far
long faults_first;             // this one and those after it fail ...
long faults_end;               // ... up to the one before this
int faults_errno;              // with this; 0: writes write only a part; -1: the process dies;
                               // -2: it stops until it is told to continue, and nothing fails
char faults_notes[1 << 17];    // a line for each operation: its name, and the path in the folder
static pthread_mutex_t noting = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int is_inside(const char * path)
{
  size_t length = strlen(faults_folder);
  return length && path && !strncmp(path, faults_folder, length) &&
         (path[length] == '/' || !path[length]);
}

// Return the path of what is open when it is in the folder, otherwise NULL.
static const char * path_inside(int handle, char path[PATH_MAX])
{
  char link[64];
  if (!faults_folder[0]) return NULL;
  snprintf(link, sizeof(link), "/proc/self/fd/%d", handle);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return NULL;
  path[length] = 0;
  return is_inside(path) ? path : NULL;
}

// Count an operation and note it; tell whether it is one that fails.
static int strikes(const char * name, const char * path)
{
  pthread_mutex_lock(&noting);
  long number = ++faults_count;
  size_t length = strlen(faults_notes);
  snprintf(faults_notes + length, sizeof(faults_notes) - length, "%s %s\n", name,
           path + strlen(faults_folder));
  pthread_mutex_unlock(&noting);
  int now = number >= faults_first && number < faults_end;
  if (now && faults_errno == -1) _exit(9);
  if (now && faults_errno == -2) {
    raise(SIGSTOP);  // all threads stop here, as a kill would end them
    return 0;
  }
  return now;
}

static int fails(const char * name, const char * path)
{
  if (!path || !strikes(name, path) || !faults_errno) return 0;
  errno = faults_errno;
  return 1;
}

#define WRITES(name, ...) \
  { \
    REAL(name); \
    char place[PATH_MAX]; \
    const char * path = path_inside(handle, place); \
    if (path && strikes(#name, path)) { \
      if (faults_errno) {errno = faults_errno; return -1;} \
      if (size > 1) size /= 2; \
    } \
    return real(handle, data, size __VA_ARGS__); \
  }

ssize_t write(int handle, const void * data, size_t size)
WRITES(write)

ssize_t pwrite(int handle, const void * data, size_t size, off_t offset)
WRITES(pwrite, , offset)

ssize_t pwrite64(int handle, const void * data, size_t size, off64_t offset)
WRITES(pwrite64, , offset)

#define HANDLES(name, parameters, ...) \
  int name parameters \
  { \
    REAL(name); \
    char place[PATH_MAX]; \
    return fails(#name, path_inside(handle, place)) ? -1 : real(__VA_ARGS__); \
  }

HANDLES(fsync, (int handle), handle)
HANDLES(fdatasync, (int handle), handle)
HANDLES(ftruncate, (int handle, off_t size), handle, size)
HANDLES(ftruncate64, (int handle, off64_t size), handle, size)
HANDLES(fallocate, (int handle, int mode, off_t at, off_t size), handle, mode, at, size)
HANDLES(fallocate64, (int handle, int mode, off64_t at, off64_t size), handle, mode, at, size)

#define PATHS(name, parameters, ...) \
  int name parameters \
  { \
    REAL(name); \
    return is_inside(path) && fails(#name, path) ? -1 : real(__VA_ARGS__); \
  }

PATHS(rename, (const char * path, const char * to), path, to)
PATHS(renameat, (int from, const char * path, int at, const char * to), from, path, at, to)
PATHS(unlink, (const char * path), path)
PATHS(unlinkat, (int at, const char * path, int flags), at, path, flags)
PATHS(mkdir, (const char * path, mode_t mode), path, mode)
PATHS(mkdirat, (int at, const char * path, mode_t mode), at, path, mode)

int posix_fallocate(int handle, off_t at, off_t size)
{
  REAL(posix_fallocate);
  char place[PATH_MAX];
  return fails("posix_fallocate", path_inside(handle, place)) ? errno : real(handle, at, size);
}

// Tell whether the opening of a file fails; what is only read does not count.
static int opens(const char * name, const char * path, int flags)
{
  int writes = (flags & O_CREAT) || (flags & O_ACCMODE) != O_RDONLY;
  return writes && is_inside(path) && fails(name, path);
}

#define MODE \
  va_list rest; \
  va_start(rest, flags); \
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
  va_end(rest)

#define OPENS(name) \
  int name(const char * path, int flags, ...) \
  { \
    REAL(name); \
    MODE; \
    return opens(#name, path, flags) ? -1 : real(path, flags, mode); \
  }

OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
  int name(int at, const char * path, int flags, ...) \
  { \
    REAL(name); \
    MODE; \
    return opens(#name, path, flags) ? -1 : real(at, path, flags, mode); \
  }

OPENS_AT(openat)
OPENS_AT(openat64)
