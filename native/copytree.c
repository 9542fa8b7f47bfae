/*
 * Copies a frozen clone, so that the copy is a clone that git takes for its own. Linux, C11, no dependencies, no privileges.
 *
 *   copytree prepare DIR ...      prints "copytree 2", "reflink" or "copy" for what the file system of the first can do, and
 *                                 "spread" if what is made in them will be, else "packed"
 *   copytree serve [name=value]   answers requests until its standard input ends
 *
 *   threads=N  that copy at once, 2 by default;  nice=N;  reflink=1  share the blocks of files where the kernel lets us
 *
 * A request is four texts, each ended by a NUL: the clone, the directory to fill, and either two empty ones, then the directory
 * is empty, or, of a clone that a job has used, its index and notes from before the job (renewal.h): what nobody has touched
 * since stays, all else goes. The answer is a line: "ok FILES", copied ones, or "error WHY"; after an error the directory holds
 * whatever it holds. One request after the other.
 *
 * Directories, files and links are copied with their modes and times of modification; nothing is linked or shared in a way
 * that a write could cross. `.git/index` is written last, with what lstat says of each copied file, so that git reads none of
 * them again. What it says of the clone's own files must be true: a frozen clone that somebody has changed is no clone.
 */
#define _GNU_SOURCE
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

#include "git-index.h"
#include "listing.h"
#include "renewal.h"

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
static struct git_index copied_index;
static bool *noted;
static atomic_uint next_entry;
static struct renewal renewal;
static bool renewing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct task *tasks;
static int busy;
static atomic_long files;
static atomic_bool failed;
static char fault[512];

/* The first fault is told; all stop at it. */
static void fail(const char *format, ...) {
  pthread_mutex_lock(&lock);
  if (!failed) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fault, sizeof fault, format, arguments);
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

/* Of a file that was just copied: false if it is another one than the index names. The index may lack it. */
static bool note_copied(const char *path, const struct stat *from, const struct stat *to) {
  uint32_t at;
  if (!index_find(&copied_index, path, &at)) return true;
  if (!index_is_same_file(index_entry(&copied_index, at), from)) return false;
  index_note(&copied_index, at, to);
  noted[at] = true;
  return true;
}

static bool write_index(void) {
  int fd = openat(target, ".git/index", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  bool done = write_all(fd, (const char *)copied_index.bytes, copied_index.size);
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

/* As the index has it: without the leading "./". False if no such path can be. */
static bool path_in_index(char path[PATH_MAX], const char *directory, const char *name) {
  bool is_root = directory[1] == 0;
  int length = snprintf(path, PATH_MAX, "%s%s%s", is_root ? "" : directory + 2, is_root ? "" : "/", name);
  if (length < PATH_MAX) return true;
  errno = ENAMETOOLONG;
  return false;
}

static bool copy_file(int from, int to, const char *path, const char *name, char *buffer) {
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
    struct stat copied;
    done = fstat(out, &copied) == 0;
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

static const char packs[] = ".git/objects/pack/";

/* True if the file may stay as it is; else it is gone. */
static bool keep(int from, int to, const char *path, const char *name) {
  struct stat stat, frozen;
  if (fstatat(to, name, &stat, AT_SYMLINK_NOFOLLOW) < 0) return false;
  uint32_t at;
  bool kept = false;
  if (index_find(&copied_index, path, &at)) {
    const unsigned char *same = renewal_keeps(&renewal, index_entry(&copied_index, at), &stat);
    kept = same != NULL;
    if (kept) index_note_as(&copied_index, at, same);
    if (kept) noted[at] = true;
  } else if (strncmp(path, packs, sizeof packs - 1) == 0 && fstatat(from, name, &frozen, AT_SYMLINK_NOFOLLOW) == 0) {
    kept = renewal_keeps_pack(&renewal, name, &frozen, &stat);
  }
  /* If it stays all the same, its place is taken, and the copy fails. */
  if (!kept) unlinkat(to, name, 0);
  return kept;
}

static int open_target(const char *directory) {
  if (renewing) return renewal_open(target, directory);
  return openat(target, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void copy_name(int from, int to, const char *directory, const char *name, char *buffer) {
  char path[PATH_MAX];
  bool done = path_in_index(path, directory, name);
  if (done && renewing && keep(from, to, path, name)) return;
  if (!done || !copy_file(from, to, path, name, buffer)) fail_at("copy", directory, name);
  files += 1;
}

static void copy_batch(int from, int to, const struct task *task, char *buffer) {
  const char *name = task->names;
  for (int n = 0; n < task->files && !failed; n += 1, name += strlen(name) + 1) {
    copy_name(from, to, task->directory, name, buffer);
  }
}

static void enter_directory(const char *directory, const char *name, bool is_there) {
  char *path = text_of("%s/%s", directory, name);
  struct stat stat;
  bool done = is_there || (fstatat(source, path, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
                           mkdirat(target, path, stat.st_mode & 07777) == 0);
  if (done) push(new_task(path, 0));
  else fail_at("mkdir", path, "");
  free(path);
}

/* A small directory is copied by who has it open, a large one by all. */
static void copy_listed(
    int from, int to, const char *directory, const struct listing *listing, const struct listing *there, char *buffer) {
  bool is_git = strcmp(directory, "./.git") == 0, is_small = listing->count <= BATCH_FILES;
  struct task *batch = NULL;
  for (size_t n = 0; !failed && n < listing->count; n += 1) {
    const struct name *name = &listing->names[n];
    if (name->is_directory) {
      const struct name *same = listing_find(there, name->text);
      enter_directory(directory, name->text, same != NULL && same->is_directory);
    } else if (is_git && strcmp(name->text, "index") == 0) continue;
    else if (is_small) copy_name(from, to, directory, name->text, buffer);
    else {
      if (batch == NULL) batch = new_task(directory, BATCH_BYTES);
      strcpy(batch->names + batch->bytes, name->text);
      batch->bytes += strlen(name->text) + 1;
      batch->files += 1;
      if (batch->files < BATCH_FILES) continue;
      push(batch);
      batch = NULL;
    }
  }
  if (batch != NULL) push(batch);
}

static void copy_directory(int from, int to, const char *directory, char *buffer) {
  struct listing listing, there = {0};
  if (!listing_read(&listing, from)) fail_at("read", directory, "");
  /* What the frozen clone does not have goes first. */
  const char *why = renewing && !failed ? renewal_clear(&renewal, from, to, &listing, &there) : NULL;
  if (why != NULL) fail("%s: %s", directory, why);
  copy_listed(from, to, directory, &listing, &there, buffer);
  listing_free(&listing);
  listing_free(&there);
}

static void perform(const struct task *task, char *buffer) {
  int from = openat(source, task->directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int to = open_target(task->directory);
  if (from < 0 || to < 0) fail_at("open", task->directory, "");
  else if (task->files == 0) copy_directory(from, to, task->directory, buffer);
  else copy_batch(from, to, task, buffer);
  if (from >= 0) close(from);
  if (to >= 0) close(to);
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
    perform(task, buffer);
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
    if (first >= copied_index.count || failed) return unused;
    uint32_t end = first + ENTRIES_AT_ONCE < copied_index.count ? first + ENTRIES_AT_ONCE : copied_index.count;
    for (uint32_t n = first; n < end; n += 1) {
      const unsigned char *entry = index_entry(&copied_index, n);
      struct stat stat;
      /* A submodule: git looks into the directory, not at its times. */
      if (noted[n] || index_is_submodule(entry)) continue;
      if (fstatat(source, index_path(entry), &stat, AT_SYMLINK_NOFOLLOW) < 0 || !index_is_same_file(entry, &stat)) {
        fail("the frozen clone was changed: %s", index_path(entry));
        return unused;
      }
      if (fstatat(target, index_path(entry), &stat, AT_SYMLINK_NOFOLLOW) < 0) {
        fail_at("stat", ".", index_path(entry));
        return unused;
      }
      index_note(&copied_index, n, &stat);
    }
  }
}

static void copy_index(void) {
  next_entry = 0;
  in_threads(note_entries);
  if (failed) return;
  index_seal(&copied_index);
  if (renewing && unlinkat(target, ".git/index", 0) < 0 && errno != ENOENT) return fail_at("unlink", ".git", "index");
  if (!write_index()) fail_at("write", ".git", "index");
}

/* ---- requests ---- */

static void reset(void) {
  for (struct task *next; tasks != NULL; tasks = next) {
    next = tasks->next;
    free(tasks->directory);
    free(tasks);
  }
  index_free(&copied_index);
  renewal_free(&renewal);
  free(noted);
  noted = NULL;
  if (source >= 0) close(source);
  if (target >= 0) close(target);
  source = target = -1;
  renewing = false;
  failed = false;
  files = 0;
}

static void copy(const char *from, const char *to, const char *index, char *notes) {
  source = open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (source < 0) return fail_at("open", from, "");
  target = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (target < 0) return fail_at("open", to, "");
  if (!index_read(&copied_index, source, ".git/index")) return fail_at("read", ".git", "index");
  if (!index_parse(&copied_index)) return fail("the index of the frozen clone is of another form");
  noted = calloc(copied_index.count + 1, sizeof *noted);
  if (noted == NULL) abort();
  renewing = *index != 0;
  if (renewing) {
    const char *why = renewal_read(&renewal, index, notes);
    if (why != NULL) return fail("%s", why);
    if (!renewal_has_attributes_of(&renewal, &copied_index)) return fail("the attributes of files have changed");
  }
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
  char *texts[4] = {NULL, NULL, NULL, NULL};
  size_t sizes[4] = {0, 0, 0, 0};
  for (;;) {
    for (int n = 0; n < 4; n += 1) {
      if (getdelim(&texts[n], &sizes[n], 0, stdin) <= 0) return 0;
    }
    copy(texts[0], texts[1], texts[2], texts[3]);
    for (char *at = fault; *at != 0; at += 1) {
      if (*at == '\n') *at = '?';
    }
    if (failed) printf("error %s\n", fault);
    else printf("ok %ld\n", (long)files);
    if (fflush(stdout) != 0) return 1;
    reset();
  }
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
  printf("copytree 2 %s %s\n", shares_blocks(directories[0]) ? "reflink" : "copy", all ? "spread" : "packed");
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
