/*
 * Copies a frozen clone, so that the copy is a clone that git takes for its own. Linux, C11, no dependencies, no privileges.
 *
 *   copytree prepare DIR ...      prints "copytree 1", "reflink" or "copy" for what the file system of the first can do, and
 *                                 "spread" if what is made in them will be, else "packed"
 *   copytree serve [name=value]   answers requests until its standard input ends
 *
 *   threads=N  that copy at once, 2 by default;  nice=N;  reflink=1  share the blocks of files where the kernel lets us
 *
 * A request is two paths, each ended by a NUL: the clone, and an empty directory. The answer is a line: "ok FILES", or
 * "error WHY"; after an error the directory holds whatever it holds. One request after the other.
 *
 * Directories, files and links are copied with their modes and times of modification; nothing is linked or shared in a way
 * that a write could cross. `.git/index` is written last, with what lstat says of each copied file, so that git reads none of
 * them again. What it says of the clone's own files must be true: a frozen clone that somebody has changed is no clone.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* More threads than this wait for the locks of directories. */
#define MAX_THREADS 8
/* Files that one thread takes at a time: a large directory is shared, a small one is not. */
#define BATCH_FILES 32
#define BATCH_BYTES (BATCH_FILES * 256)
/* Above it the kernel copies; below it a read and a write are fewer calls. */
#define BUFFER_BYTES (128 * 1024)
#define CHUNK_BYTES (1 << 30)
/* Sharing the blocks of a smaller file takes as long as copying it, and waits for the disk where it was just written. */
#define MIN_SHARED_BYTES (16 * 1024)
#define ENTRIES_AT_ONCE 256
/* Fixed part of an entry of the index: times, numbers, id (20 bytes) and flags. */
#define ENTRY_BYTES 62
#define HASH_BYTES 20

/* A directory to be read, or some of its files to be copied. */
struct task {
  struct task *next;
  char *directory;
  int files;
  size_t bytes;
  char names[];
};

static struct {
  int threads, nice;
  bool reflink;
} set = {.threads = 2};

static int source = -1, target = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct task *tasks;
static int busy;
static atomic_long files;
static atomic_bool failed;
static char why[512];

/* The first fault is told; all stop at it. */
static void fail(const char *format, ...) {
  pthread_mutex_lock(&lock);
  if (!failed) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    failed = true;
  }
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void fail_at(const char *call, const char *directory, const char *name) {
  fail("%s %s/%s: %s", call, directory, name, strerror(errno));
}

static void *allocate(size_t bytes) {
  void *memory = malloc(bytes);
  if (memory == NULL) abort();
  return memory;
}

static char *text_of(const char *format, ...) {
  char *text;
  va_list arguments;
  va_start(arguments, format);
  if (vasprintf(&text, format, arguments) < 0) abort();
  va_end(arguments);
  return text;
}

static void push(struct task *task) {
  pthread_mutex_lock(&lock);
  task->next = tasks;
  tasks = task;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

static struct task *new_task(const char *directory, size_t bytes) {
  struct task *task = allocate(sizeof *task + bytes);
  *task = (struct task){.directory = text_of("%s", directory)};
  return task;
}

static bool write_all(int fd, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t wrote = write(fd, bytes, count);
    if (wrote < 0) return false;
    bytes += wrote;
    count -= (size_t)wrote;
  }
  return true;
}

/* ---- the index ---- */

struct sha1 {
  uint32_t state[5];
};

static uint32_t rotated(uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

static uint32_t read_32(const unsigned char *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void write_32(unsigned char *at, uint64_t value) {
  for (int n = 0; n < 4; n += 1) at[n] = (unsigned char)(value >> (24 - 8 * n));
}

static void sha1_block(struct sha1 *hash, const unsigned char *block) {
  static const uint32_t constants[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
  uint32_t words[80], a = hash->state[0], b = hash->state[1], c = hash->state[2], d = hash->state[3], e = hash->state[4];
  for (int n = 0; n < 16; n += 1) words[n] = read_32(block + 4 * n);
  for (int n = 16; n < 80; n += 1) words[n] = rotated(words[n - 3] ^ words[n - 8] ^ words[n - 14] ^ words[n - 16], 1);
  for (int n = 0; n < 80; n += 1) {
    uint32_t mixed = n < 20 ? (b & c) | (~b & d) : n >= 40 && n < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
    uint32_t next = rotated(a, 5) + mixed + e + constants[n / 20] + words[n];
    e = d;
    d = c;
    c = rotated(b, 30);
    b = a;
    a = next;
  }
  hash->state[0] += a;
  hash->state[1] += b;
  hash->state[2] += c;
  hash->state[3] += d;
  hash->state[4] += e;
}

static void sha1(const unsigned char *bytes, size_t count, unsigned char *result) {
  struct sha1 hash = {{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
  size_t done = 0;
  for (; done + 64 <= count; done += 64) sha1_block(&hash, bytes + done);
  unsigned char last[128] = {0};
  size_t rest = count - done, length = rest < 56 ? 64 : 128;
  memcpy(last, bytes + done, rest);
  last[rest] = 0x80;
  write_32(last + length - 8, (uint64_t)count >> 29);
  write_32(last + length - 4, (uint64_t)count << 3);
  for (size_t n = 0; n < length; n += 64) sha1_block(&hash, last + n);
  for (int n = 0; n < 5; n += 1) write_32(result + 4 * n, hash.state[n]);
}

static unsigned char *index_bytes;
static size_t index_size;
static size_t *entries;
static uint32_t entry_count;
static bool *noted;
static atomic_uint next_entry;

static bool is_extended(const unsigned char *entry) { return (entry[60] & 0x40) != 0; }

static const char *path_of(const unsigned char *entry) {
  return (const char *)entry + ENTRY_BYTES + (is_extended(entry) ? 2 : 0);
}

/* False if it is not an index that we know. */
static bool find_entries(void) {
  if (index_size < 12 + HASH_BYTES || memcmp(index_bytes, "DIRC", 4) != 0) return false;
  uint32_t version = read_32(index_bytes + 4);
  entry_count = read_32(index_bytes + 8);
  if ((version != 2 && version != 3) || entry_count > index_size / ENTRY_BYTES) return false;
  size_t end = index_size - HASH_BYTES, at = 12;
  entries = allocate((entry_count + 1) * sizeof *entries);
  noted = calloc(entry_count + 1, sizeof *noted);
  if (noted == NULL) abort();
  for (uint32_t n = 0; n < entry_count; n += 1) {
    entries[n] = at;
    if (at + ENTRY_BYTES + 2 >= end) return false;
    size_t start = (size_t)((const unsigned char *)path_of(index_bytes + at) - index_bytes);
    size_t length = strnlen((const char *)index_bytes + start, end - start);
    /* Ended by one to eight NULs. */
    at += (start - at + length + 8) & ~(size_t)7;
    if (at > end) return false;
  }
  return true;
}

static bool is_same(const unsigned char *entry, const struct stat *stat) {
  return read_32(entry) == (uint32_t)stat->st_ctim.tv_sec && read_32(entry + 8) == (uint32_t)stat->st_mtim.tv_sec &&
         (read_32(entry + 4) == 0 || read_32(entry + 4) == (uint32_t)stat->st_ctim.tv_nsec) &&
         read_32(entry + 20) == (uint32_t)stat->st_ino && read_32(entry + 36) == (uint32_t)stat->st_size;
}

static void note(unsigned char *entry, const struct stat *stat) {
  const uint64_t values[] = {
      (uint64_t)stat->st_ctim.tv_sec, (uint64_t)stat->st_ctim.tv_nsec, (uint64_t)stat->st_mtim.tv_sec,
      (uint64_t)stat->st_mtim.tv_nsec, stat->st_dev, stat->st_ino,
  };
  for (int n = 0; n < 6; n += 1) write_32(entry + 4 * n, values[n]);
  write_32(entry + 28, stat->st_uid);
  write_32(entry + 32, stat->st_gid);
  write_32(entry + 36, (uint64_t)stat->st_size);
}

/* Of a file that was just copied: false if it is another one than the index names. The index may lack it. */
static bool note_copied(const char *path, const struct stat *from, const struct stat *to) {
  uint32_t low = 0, high = entry_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    unsigned char *entry = index_bytes + entries[middle];
    int order = strcmp(path_of(entry), path);
    if (order == 0) {
      if (!is_same(entry, from)) return false;
      note(entry, to);
      noted[middle] = true;
      return true;
    }
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return true;
}

static bool read_index(void) {
  int fd = openat(source, ".git/index", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  struct stat stat;
  if (fd < 0 || fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode)) return false;
  index_size = (size_t)stat.st_size;
  index_bytes = allocate(index_size + 1);
  size_t got = 0;
  for (ssize_t more; got < index_size && (more = read(fd, index_bytes + got, index_size - got)) > 0;) got += (size_t)more;
  close(fd);
  return got == index_size;
}

static bool write_index(void) {
  int fd = openat(target, ".git/index", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  bool done = write_all(fd, (const char *)index_bytes, index_size);
  return close(fd) == 0 && done;
}

/* ---- copying ---- */

static bool copy_content(int from, int to, off_t size, char *buffer) {
  if (size == 0) return true;
  if (set.reflink && size >= MIN_SHARED_BYTES && ioctl(to, FICLONE, from) == 0) return true;
  if (size > BUFFER_BYTES) {
    ssize_t copied;
    while ((copied = copy_file_range(from, NULL, to, NULL, CHUNK_BYTES, 0)) > 0) continue;
    if (copied == 0 && lseek(to, 0, SEEK_CUR) > 0) return true;
    if (copied < 0 && errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) return false;
  }
  for (off_t left = size; left > 0;) {
    ssize_t got = read(from, buffer, BUFFER_BYTES);
    if (got < 0) return false;
    if (got == 0) return true;
    if (!write_all(to, buffer, (size_t)got)) return false;
    left -= got;
  }
  return true;
}

static bool copy_link(int from, int to, const char *name) {
  char value[4096];
  struct stat stat;
  ssize_t length = readlinkat(from, name, value, sizeof value - 1);
  if (length < 0 || fstatat(from, name, &stat, AT_SYMLINK_NOFOLLOW) < 0) return false;
  value[length] = 0;
  if (symlinkat(value, to, name) < 0) return false;
  struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, stat.st_mtim};
  return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool copy_file(int from, int to, const char *directory, const char *name, char *buffer) {
  /* Not blocking: what is no file must be found out, not waited for. */
  int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (in < 0) return errno == ELOOP && copy_link(from, to, name);
  struct stat stat;
  int out = -1;
  bool done = fstat(in, &stat) == 0;
  if (done && !S_ISREG(stat.st_mode)) {
    errno = EINVAL;
    done = false;
  }
  if (done) out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, stat.st_mode & 07777);
  struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, stat.st_mtim};
  done = done && out >= 0 && copy_content(in, out, stat.st_size, buffer) && futimens(out, times) == 0;
  if (done) {
    char path[PATH_MAX];
    struct stat copied;
    /* As the index has it: without the leading "./". */
    bool is_root = directory[1] == 0;
    int length = snprintf(path, sizeof path, "%s%s%s", is_root ? "" : directory + 2, is_root ? "" : "/", name);
    done = length < (int)sizeof path && fstat(out, &copied) == 0;
    if (done && !note_copied(path, &stat, &copied)) {
      fail("the frozen clone was changed: %s", path);
      done = false;
    }
  }
  int error = errno;
  close(in);
  if (out >= 0 && close(out) < 0 && done) {
    error = errno;
    done = false;
  }
  errno = error;
  return done;
}

static void copy_batch(const struct task *task, char *buffer) {
  int from = openat(source, task->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int to = openat(target, task->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (from < 0 || to < 0) fail_at("open", task->directory, "");
  const char *name = task->names;
  for (int n = 0; n < task->files && !failed; n += 1, name += strlen(name) + 1) {
    if (!copy_file(from, to, task->directory, name, buffer)) fail_at("copy", task->directory, name);
  }
  files += task->files;
  if (from >= 0) close(from);
  if (to >= 0) close(to);
}

static bool is_directory(int parent, const struct dirent *entry) {
  if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
  struct stat stat;
  return fstatat(parent, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(stat.st_mode);
}

static void enter_directory(const char *path) {
  struct stat stat;
  if (fstatat(source, path, &stat, AT_SYMLINK_NOFOLLOW) < 0 || mkdirat(target, path, stat.st_mode & 07777) < 0) {
    fail_at("mkdir", path, "");
  } else {
    push(new_task(path, 0));
  }
}

static void read_directory(const char *directory) {
  int fd = openat(source, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *stream = fd < 0 ? NULL : fdopendir(fd);
  if (stream == NULL) {
    fail_at("open", directory, "");
    if (fd >= 0) close(fd);
    return;
  }
  bool is_git = strcmp(directory, "./.git") == 0;
  struct task *batch = NULL;
  for (struct dirent *entry; !failed && (entry = readdir(stream)) != NULL;) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if (is_directory(fd, entry)) {
      char *path = text_of("%s/%s", directory, name);
      enter_directory(path);
      free(path);
    } else if (!is_git || strcmp(name, "index") != 0) {
      if (batch == NULL) batch = new_task(directory, BATCH_BYTES);
      strcpy(batch->names + batch->bytes, name);
      batch->bytes += strlen(name) + 1;
      batch->files += 1;
      if (batch->files == BATCH_FILES) {
        push(batch);
        batch = NULL;
      }
    }
  }
  if (batch != NULL) push(batch);
  closedir(stream);
}

static void *copy_tasks(void *unused) {
  char *buffer = allocate(BUFFER_BYTES);
  pthread_mutex_lock(&lock);
  for (;;) {
    while (tasks == NULL && busy > 0 && !failed) pthread_cond_wait(&changed, &lock);
    if (tasks == NULL || failed) break;
    struct task *task = tasks;
    tasks = task->next;
    busy += 1;
    pthread_mutex_unlock(&lock);
    if (task->files == 0) read_directory(task->directory);
    else copy_batch(task, buffer);
    free(task->directory);
    free(task);
    pthread_mutex_lock(&lock);
    busy -= 1;
    if (busy == 0) pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  free(buffer);
  return unused;
}

static void in_threads(void *(*work)(void *)) {
  pthread_t others[MAX_THREADS];
  int started = 0;
  while (started < set.threads - 1 && pthread_create(&others[started], NULL, work, NULL) == 0) started += 1;
  work(NULL);
  for (int n = 0; n < started; n += 1) pthread_join(others[n], NULL);
}

/* Links, and whatever else was not copied as a file. */
static void *note_entries(void *unused) {
  for (;;) {
    uint32_t first = atomic_fetch_add(&next_entry, ENTRIES_AT_ONCE);
    if (first >= entry_count || failed) return unused;
    uint32_t end = first + ENTRIES_AT_ONCE < entry_count ? first + ENTRIES_AT_ONCE : entry_count;
    for (uint32_t n = first; n < end; n += 1) {
      if (noted[n]) continue;
      unsigned char *entry = index_bytes + entries[n];
      struct stat stat;
      /* A submodule: git looks into the directory, not at its times. */
      if ((read_32(entry + 24) & S_IFMT) == (S_IFDIR | S_IFLNK)) continue;
      if (fstatat(source, path_of(entry), &stat, AT_SYMLINK_NOFOLLOW) < 0 || !is_same(entry, &stat)) {
        fail("the frozen clone was changed: %s", path_of(entry));
        return unused;
      }
      if (fstatat(target, path_of(entry), &stat, AT_SYMLINK_NOFOLLOW) < 0) {
        fail_at("stat", ".", path_of(entry));
        return unused;
      }
      note(entry, &stat);
    }
  }
}

static void copy_index(void) {
  next_entry = 0;
  in_threads(note_entries);
  if (failed) return;
  sha1(index_bytes, index_size - HASH_BYTES, index_bytes + index_size - HASH_BYTES);
  if (!write_index()) fail_at("write", ".git", "index");
}

/* ---- requests ---- */

static void reset(void) {
  for (struct task *next; tasks != NULL; tasks = next) {
    next = tasks->next;
    free(tasks->directory);
    free(tasks);
  }
  free(index_bytes);
  free(entries);
  free(noted);
  index_bytes = NULL;
  entries = NULL;
  noted = NULL;
  if (source >= 0) close(source);
  if (target >= 0) close(target);
  source = target = -1;
  failed = false;
  files = 0;
}

static void copy(const char *from, const char *to) {
  source = open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (source < 0) return fail_at("open", from, "");
  target = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (target < 0) return fail_at("open", to, "");
  if (!read_index()) return fail_at("read", ".git", "index");
  if (!find_entries()) return fail("the index of the frozen clone is of another form");
  push(new_task(".", 0));
  in_threads(copy_tasks);
  if (!failed) copy_index();
}

static int serve(void) {
  /* The copies' modes are the clone's own. A shell's interrupt is for the service, and its end, however it comes, is ours. */
  umask(0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setsid();
  if (set.nice > 0) setpriority(PRIO_PROCESS, 0, set.nice);
  char *from = NULL, *to = NULL;
  size_t from_size = 0, to_size = 0;
  while (getdelim(&from, &from_size, 0, stdin) > 0 && getdelim(&to, &to_size, 0, stdin) > 0) {
    copy(from, to);
    for (char *at = why; *at != 0; at += 1) {
      if (*at == '\n') *at = '?';
    }
    if (failed) printf("error %s\n", why);
    else printf("ok %ld\n", (long)files);
    if (fflush(stdout) != 0) return 1;
    reset();
  }
  return 0;
}

static bool shares_blocks(const char *directory) {
  /* Without names: nobody finds them, and nothing is left of them. */
  int from = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  int to = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  return from >= 0 && to >= 0 && write_all(from, "probe", 5) && ioctl(to, FICLONE, from) == 0;
}

/*
 * ext4 looks for a free inode near the parent directory, and there steps over every one that was freed in the last minutes:
 * where trees come and go, making a file then takes twenty times as long. What is made in a directory with this flag goes
 * to a part of the disk of its own.
 */
static bool spread(const char *directory) {
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int flags = 0;
  bool done = fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
  if (done && (flags & FS_TOPDIR_FL) == 0) {
    flags |= FS_TOPDIR_FL;
    done = ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
  }
  if (fd >= 0) close(fd);
  return done;
}

static int prepare(int count, char **directories) {
  bool all = true;
  for (int n = 0; n < count; n += 1) all = spread(directories[n]) && all;
  printf("copytree 1 %s %s\n", shares_blocks(directories[0]) ? "reflink" : "copy", all ? "spread" : "packed");
  return 0;
}

static bool is_setting(const char *argument, const char *name, int *value) {
  size_t length = strlen(name);
  if (strncmp(argument, name, length) != 0 || argument[length] != '=') return false;
  *value = atoi(argument + length + 1);
  return true;
}

int main(int count, char **arguments) {
  if (count > 2 && strcmp(arguments[1], "prepare") == 0) return prepare(count - 2, arguments + 2);
  int reflink = 0;
  bool known = count > 1 && strcmp(arguments[1], "serve") == 0;
  for (int n = 2; n < count && known; n += 1) {
    known = is_setting(arguments[n], "threads", &set.threads) || is_setting(arguments[n], "nice", &set.nice) ||
            is_setting(arguments[n], "reflink", &reflink);
  }
  set.reflink = reflink != 0;
  if (set.threads < 1) set.threads = 1;
  if (set.threads > MAX_THREADS) set.threads = MAX_THREADS;
  if (known) return serve();
  fprintf(stderr, "usage: copytree prepare DIR ... | copytree serve [threads=N] [nice=N] [reflink=1]\n");
  return 2;
}
