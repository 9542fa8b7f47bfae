/*
 * Compares a work tree with an index that was noted of it. Linux, C11, no dependencies, no privileges. Writes nothing.
 *
 *   scantree serve [threads=N]    answers requests until its standard input ends
 *
 * A request is three texts, each ended by a NUL: the index, the work tree, and a moment (SECONDS.NANOSECONDS of the file
 * system's clock) before which nobody changed anything in the tree. The answer is a line:
 *
 *   ok FINDING ...    =MODE:ID:PATH  an entry that may have changed: what lstat says is not what the index says
 *                     +PATH          a name that the index does not have; of a directory, nothing that is in it
 *                     ~MODE:ID:PATH  an entry, changed or not, of each directory with such a name
 *   doubt WHY         git has to look for itself
 *
 * MODE is octal, ID and PATH are hexadecimal. What is not named is as it was: every time, number, owner and size is compared,
 * and an entry counts as unchanged only if its time of change, which nobody can set, lies before the moment. Whoever wrote the
 * tree is not trusted: no link is followed, nothing is opened but directories of the index.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "git-index.h"

#define MAX_THREADS 8
/* Below it a second thread takes longer to start than it saves. */
#define ENTRIES_PER_THREAD 1000
/* Beyond it git is as quick: it has most of the tree to look at. */
#define MAX_FINDINGS 500
#define MAX_PATH 4096
#define LISTING_BYTES (64 * 1024)
/* Fixed part of an entry of the index: times, numbers, id (20 bytes) and flags. */
#define ENTRY_BYTES 62
#define HASH_BYTES 20

/* A directory: the entries from `first` to before `end` are in it, `length` bytes of their paths name it. */
struct task {
  uint32_t first, end, length;
};

struct child {
  const char *name;
  uint32_t length;
  bool is_directory;
};

/* What one thread works with. */
struct hand {
  struct child *children;
  uint32_t room;
  _Alignas(8) char listing[LISTING_BYTES];
};

static int thread_count = 2;
static int tree = -1;
static const unsigned char *index_bytes;
static size_t index_size;
static const unsigned char **entries;
static uint32_t entry_count;
static struct timespec moment;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct task *tasks;
static size_t task_count, task_room;
static int busy;
static int findings;
static char *said;
static size_t said_size;
static FILE *answer;
static const char *_Atomic doubt_why;

/* The first doubt is told; all stop at it. */
static void doubt(const char *why) {
  const char *none = NULL;
  atomic_compare_exchange_strong(&doubt_why, &none, why);
  pthread_mutex_lock(&lock);
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void *allocate(void *old, size_t bytes) {
  void *memory = realloc(old, bytes);
  if (memory == NULL) abort();
  return memory;
}

static void push(struct task task) {
  pthread_mutex_lock(&lock);
  if (task_count == task_room) {
    task_room = task_room == 0 ? 256 : task_room * 2;
    tasks = allocate(tasks, task_room * sizeof *tasks);
  }
  tasks[task_count] = task;
  task_count += 1;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

/* ---- the index ---- */

static uint32_t read_32(const unsigned char *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static const char *path_of(uint32_t entry) { return (const char *)entries[entry] + ENTRY_BYTES; }

/* Null, or why it is not an index that we know: all of the second form, one entry per path, all of it there. */
static const char *find_entries(void) {
  if (index_size < 12 + HASH_BYTES || memcmp(index_bytes, "DIRC", 4) != 0) return "no index";
  entry_count = read_32(index_bytes + 8);
  if (read_32(index_bytes + 4) != 2 || entry_count > index_size / ENTRY_BYTES) return "an index of another form";
  size_t end = index_size - HASH_BYTES, at = 12;
  entries = allocate(entries, (entry_count + 1) * sizeof *entries);
  for (uint32_t n = 0; n < entry_count; n += 1) {
    if (at + ENTRY_BYTES + 2 >= end) return "a short index";
    const unsigned char *entry = index_bytes + at;
    entries[n] = entry;
    size_t length = (size_t)(entry[60] & 0xf) << 8 | entry[61];
    if (length == 0xfff || at + ENTRY_BYTES + length >= end) length = strnlen(path_of(n), end - at - ENTRY_BYTES);
    if (length == 0 || length >= MAX_PATH || path_of(n)[length] != 0) return "an index with a path of another form";
    /* Not of several stages, not taken for unchanged whatever it is, and no submodule. */
    if ((entry[60] & 0xf0) != 0 || index_is_submodule(entry)) return "an entry of another kind";
    /* Ended by one to eight NULs. */
    at += (ENTRY_BYTES + length + 8) & ~(size_t)7;
    if (at > end) return "a short index";
  }
  /* An extension whose name begins with a small letter changes what the entries mean. */
  for (; at + 8 <= end; at += 8 + (size_t)read_32(index_bytes + at + 4)) {
    if (index_bytes[at] < 'A' || index_bytes[at] > 'Z') return "an index with an extension";
  }
  return NULL;
}

/* ---- findings ---- */

static void say_hex(const unsigned char *bytes, size_t count) {
  for (size_t n = 0; n < count; n += 1) {
    fputc("0123456789abcdef"[bytes[n] >> 4], answer);
    fputc("0123456789abcdef"[bytes[n] & 15], answer);
  }
}

/* With the lock. */
static bool may_say(void) {
  findings += 1;
  return findings <= MAX_FINDINGS;
}

static void say_entry(char kind, uint32_t entry) {
  pthread_mutex_lock(&lock);
  bool may = may_say();
  if (may) {
    fprintf(answer, " %c%o:", kind, index_mode(entries[entry]));
    say_hex(entries[entry] + 40, HASH_BYTES);
    fputc(':', answer);
    say_hex((const unsigned char *)path_of(entry), strlen(path_of(entry)));
  }
  pthread_mutex_unlock(&lock);
  if (!may) doubt("much has changed");
}

static void say_name(const struct task *task, const char *name) {
  pthread_mutex_lock(&lock);
  bool may = may_say();
  if (may) {
    fputs(" +", answer);
    if (task->length > 0) {
      say_hex((const unsigned char *)path_of(task->first), task->length);
      say_hex((const unsigned char *)"/", 1);
    }
    say_hex((const unsigned char *)name, strlen(name));
  }
  pthread_mutex_unlock(&lock);
  if (!may) doubt("much has changed");
}

/* ---- looking ---- */

/* As the index orders them: a directory as if its name ended with a slash. */
static int compare(const struct child *child, const char *name, size_t length, bool is_directory) {
  size_t both = child->length < length ? child->length : length;
  int order = memcmp(child->name, name, both);
  if (order != 0) return order;
  int left = child->length > both ? (unsigned char)child->name[both] : child->is_directory ? '/' : 0;
  int right = length > both ? (unsigned char)name[both] : is_directory ? '/' : 0;
  return left - right;
}

static const struct child *find(const struct hand *hand, uint32_t count, const char *name, bool is_directory) {
  size_t length = strlen(name);
  uint32_t low = 0, high = count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    int order = compare(&hand->children[middle], name, length, is_directory);
    if (order == 0) return &hand->children[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return NULL;
}

static void look_at(int fd, uint32_t entry, const char *name) {
  struct stat stat;
  if (fstatat(fd, name, &stat, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!index_is_unchanged(entries[entry], &stat, &moment)) say_entry('=', entry);
  } else if (errno == ENOENT) say_entry('=', entry);
  else doubt("a file is out of reach");
}

/* Answers how many children the index has in the directory; looks at its files and pushes its directories. */
static uint32_t look_at_entries(struct hand *hand, int fd, const struct task *task) {
  uint32_t skip = task->length == 0 ? 0 : task->length + 1, count = 0;
  for (uint32_t n = task->first; n < task->end && doubt_why == NULL; count += 1) {
    const char *name = path_of(n) + skip;
    const char *slash = strchr(name, '/');
    size_t length = slash == NULL ? strlen(name) : (size_t)(slash - name);
    if (count == hand->room) {
      hand->room = hand->room == 0 ? 256 : hand->room * 2;
      hand->children = allocate(hand->children, hand->room * sizeof *hand->children);
    }
    hand->children[count] = (struct child){name, (uint32_t)length, slash != NULL};
    if (slash == NULL) {
      look_at(fd, n, name);
      n += 1;
      continue;
    }
    uint32_t first = n;
    while (n < task->end && strncmp(path_of(n) + skip, name, length + 1) == 0) n += 1;
    push((struct task){first, n, skip + (uint32_t)length});
  }
  return count;
}

static void look_for_others(struct hand *hand, int fd, const struct task *task, uint32_t count) {
  bool any = false;
  ssize_t got;
  while (doubt_why == NULL && (got = syscall(SYS_getdents64, fd, hand->listing, LISTING_BYTES)) != 0) {
    if (got < 0) return doubt("a directory is out of reach");
    for (ssize_t at = 0; at < got;) {
      const struct dirent64 *one = (const struct dirent64 *)(hand->listing + at);
      at += one->d_reclen;
      const char *name = one->d_name;
      if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".git") == 0) continue;
      if (find(hand, count, name, false) != NULL) continue;
      if (find(hand, count, name, true) != NULL) {
        if (one->d_type != DT_DIR && one->d_type != DT_UNKNOWN) doubt("a directory has become something else");
        continue;
      }
      say_name(task, name);
      any = true;
    }
  }
  if (any && count > 0) say_entry('~', task->first);
}

static int enter(int parent, const char *name) {
  return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Follows no link, wherever in the path it is. Writes into the path. */
static int open_directory(char *path) {
  struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
  int fd = (int)syscall(SYS_openat2, tree, path, &how, sizeof how);
  /* An older kernel has no such call, some sandboxes refuse it. */
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return fd;
  fd = enter(tree, ".");
  for (char *rest = path, *name; fd >= 0 && (name = strsep(&rest, "/")) != NULL;) {
    int parent = fd;
    fd = enter(parent, name);
    int error = errno;
    close(parent);
    errno = error;
  }
  return fd;
}

static void look_into(struct hand *hand, const struct task *task) {
  char path[MAX_PATH] = ".";
  if (task->length > 0) {
    memcpy(path, path_of(task->first), task->length);
    path[task->length] = 0;
  }
  int fd = open_directory(path);
  if (fd < 0 && errno == ENOENT) {
    for (uint32_t n = task->first; n < task->end && doubt_why == NULL; n += 1) say_entry('=', n);
  } else if (fd < 0) doubt("a directory is out of reach, or is none");
  else {
    look_for_others(hand, fd, task, look_at_entries(hand, fd, task));
    close(fd);
  }
}

static void *look(void *unused) {
  struct hand *hand = allocate(NULL, sizeof *hand);
  hand->children = NULL;
  hand->room = 0;
  pthread_mutex_lock(&lock);
  for (;;) {
    while (task_count == 0 && busy > 0 && doubt_why == NULL) pthread_cond_wait(&changed, &lock);
    if (task_count == 0 || doubt_why != NULL) break;
    task_count -= 1;
    struct task task = tasks[task_count];
    busy += 1;
    pthread_mutex_unlock(&lock);
    look_into(hand, &task);
    pthread_mutex_lock(&lock);
    busy -= 1;
    if (busy == 0) pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  free(hand->children);
  free(hand);
  return unused;
}

static void look_everywhere(void) {
  pthread_t others[MAX_THREADS];
  int wanted = (int)(entry_count / ENTRIES_PER_THREAD), started = 0;
  if (wanted > thread_count - 1) wanted = thread_count - 1;
  push((struct task){0, entry_count, 0});
  while (started < wanted && pthread_create(&others[started], NULL, look, NULL) == 0) started += 1;
  look(NULL);
  for (int n = 0; n < started; n += 1) pthread_join(others[n], NULL);
}

/* ---- requests ---- */

static void compare_tree(const char *index_path, const char *tree_path) {
  struct stat stat;
  int fd = open(index_path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &stat) < 0) doubt("the index is out of reach");
  else {
    index_size = (size_t)stat.st_size;
    void *bytes = index_size == 0 ? MAP_FAILED : mmap(NULL, index_size, PROT_READ, MAP_PRIVATE, fd, 0);
    tree = open(tree_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (bytes == MAP_FAILED || tree < 0) doubt("the index or the tree is out of reach");
    else {
      index_bytes = bytes;
      const char *why = find_entries();
      if (why == NULL) look_everywhere();
      else doubt(why);
    }
    if (bytes != MAP_FAILED) munmap(bytes, index_size);
  }
  if (fd >= 0) close(fd);
  if (tree >= 0) close(tree);
  tree = -1;
}

static void answer_one(const char *index_path, const char *tree_path, const char *since) {
  char *point;
  moment.tv_sec = strtoll(since, &point, 10);
  moment.tv_nsec = *point == '.' ? strtol(point + 1, NULL, 10) : 0;
  doubt_why = NULL;
  task_count = 0;
  findings = 0;
  answer = open_memstream(&said, &said_size);
  if (answer == NULL) abort();
  compare_tree(index_path, tree_path);
  fclose(answer);
  if (doubt_why != NULL) printf("doubt %s\n", doubt_why);
  else printf("ok%s\n", said);
  free(said);
}

static int serve(void) {
  /* A shell's interrupt is for the service, and its end, however it comes, is ours. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setsid();
  char *texts[3] = {NULL, NULL, NULL};
  size_t sizes[3] = {0, 0, 0};
  for (;;) {
    for (int n = 0; n < 3; n += 1) {
      if (getdelim(&texts[n], &sizes[n], 0, stdin) <= 0) return 0;
    }
    answer_one(texts[0], texts[1], texts[2]);
    if (fflush(stdout) != 0) return 1;
  }
}

int main(int count, char **arguments) {
  bool known = count > 1 && strcmp(arguments[1], "serve") == 0;
  for (int n = 2; n < count && known; n += 1) {
    known = strncmp(arguments[n], "threads=", 8) == 0;
    if (known) thread_count = atoi(arguments[n] + 8);
  }
  if (thread_count < 1) thread_count = 1;
  if (thread_count > MAX_THREADS) thread_count = MAX_THREADS;
  if (known) return serve();
  fprintf(stderr, "usage: scantree serve [threads=N]\n");
  return 2;
}
