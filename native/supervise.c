/*
 * Runs one program and lets nothing that it started outlive it. Linux, C11, no dependencies, no privileges.
 *
 *   supervise [name=value ...] -- /absolute/program [argument ...]
 *   supervise self-test          prints "supervise 2" if this kernel lets it do its work
 *   supervise is-held FILE       exits with 0 if a living supervisor holds this record, with 1 if none does
 *
 *   service ──socket── guard ──► keeper ──► program ──► whatever it starts, however it hides
 *
 * Two processes, so that neither can be killed alone with an effect: both are subreapers, so that every descendant becomes
 * a child of the keeper when its parent ends, or of the guard when the keeper does. The keeper does the work; when the
 * guard dies the kernel tells it (SIGUSR2), and it kills everything. When the keeper dies the guard does. Setsid, double
 * forks, stopped processes and emptied environments make no difference to that.
 *
 * Standard input, output and error are the program's own; what it writes to must be files. Settings, all optional, times in ms:
 *   control=FD       a socket to the service. In: 'b' I live, 'e' end it, 'h' from now on without grace, 'g' its work begins.
 *                    Out: a JSON line at the start, one at the end; then the service closes. Without the last line, the end
 *                    of the socket says that guard and keeper are both gone.
 *   dead-man-ms=N    kill everything when nothing came for that long;  adopt=1  go on without the service instead, for good
 *   timeout-ms=N     end the program then;  idle-ms=N  end it when neither output has grown for that long
 *   waits=1          both times count from 'g' on: the program was started before there is anything for it to do
 *   output-bytes=N   end it when both outputs together hold more
 *   term-ms=N kill-ms=N   when SIGTERM and SIGKILL follow SIGINT
 *   depth=N          the program is a sandbox: what is to be signalled with grace are its descendants below N generations
 *   cwd=DIR  fsize=N  nofile=N  data=N  nice=N   for the program; core dumps are always off
 *   mark=N           becomes the program's limit of real-time CPU (RLIMIT_RTTIME, in microseconds), which does nothing, but is
 *                    handed on to whatever it starts, also with an emptied environment: /proc/PID/limits tells whose it is
 *   record=FILE      locked as long as the guard or the keeper lives; holds their ids, start times and the boot id
 *   exit=FILE        the line of the end, complete as soon as the file is there
 *
 * Signals: SIGTERM ends it, SIGUSR1 ends it without grace. The exit code is 0 once the line of the end has been written.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Killed processes go within milliseconds; what takes this long hangs in the kernel, and nothing ends it. */
#define SWEEP_LIMIT_MS 10000
/* How often the outputs are looked at: often enough to bound a flood, and next to free. */
#define OUTPUT_CHECK_MS 250
/* Rounds over the direct children before the whole tree is stopped first: only what forks as fast as we kill needs it. */
#define ROUNDS_BEFORE_STOP 32
#define MAX_DESCENDANTS 65536
#define LINE_BYTES 512
/* What a service that answers needs a millisecond for. */
#define CLOSE_LIMIT_MS 1000
#define NEVER INT64_MAX

typedef long long ms_t;

static struct {
  const char *cwd, *record, *exit_file;
  ms_t depth, timeout, idle, output, term, kill, dead_man, fsize, nofile, data, mark;
  int control, nice;
  bool adopt, waits;
} set = {.control = -1};

static int record_fd = -1, exit_fd = -1;
static char exit_temporary[4096];
static pid_t guard, program = -1;
static int program_status;
static bool program_ended;
static long killed;
/* Why it is being ended; the first reason stays. NULL: it has not been. */
static const char *ended_by;

static ms_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (ms_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the tree ------------------------------------------------------------------------------------------------------ */

/* Field 4 of /proc/PID/stat is the parent, 22 the start time; the name in field 2 may hold anything. */
static bool read_stat(pid_t pid, char *state, pid_t *parent, unsigned long long *start) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  if (size <= 0) return false;
  text[size] = 0;
  const char *rest = strrchr(text, ')');
  int ppid;
  if (rest == NULL || sscanf(rest + 2, "%c %d", state, &ppid) != 2) return false;
  *parent = ppid;
  if (start == NULL) return true;
  return sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", start) == 1;
}

/* Sends a signal to every living descendant that a scan of /proc shows in these generations, children being the first;
   answers how many there were. */
static int signal_descendants(int signal_number, int first, int last) {
  static pid_t pids[MAX_DESCENDANTS], parents[MAX_DESCENDANTS];
  static int generation[MAX_DESCENDANTS]; /* 0: not ours */
  int count = 0, alive = 0;
  DIR *proc = opendir("/proc");
  if (proc == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(proc)) != NULL && count < MAX_DESCENDANTS;) {
    pid_t pid = atoi(entry->d_name), parent;
    char state;
    if (pid <= 0 || !read_stat(pid, &state, &parent, NULL) || state == 'Z' || state == 'X') continue;
    pids[count] = pid;
    parents[count] = parent;
    generation[count++] = parent == getpid() ? 1 : 0;
  }
  closedir(proc);
  for (bool changed = true; changed;) {
    changed = false;
    for (int i = 0; i < count; i++) {
      for (int j = 0; j < count && generation[i] == 0; j++) {
        if (generation[j] == 0 || pids[j] != parents[i]) continue;
        generation[i] = generation[j] + 1;
        changed = true;
      }
    }
  }
  for (int i = 0; i < count; i++) {
    if (generation[i] < first || generation[i] > last) continue;
    alive++;
    if (signal_number != 0) kill(pids[i], signal_number);
  }
  return alive;
}

/* A direct child stays ours until we reap it, so its id cannot have become another process. */
static void kill_children(void) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) { /* A kernel without this file: slower, and the same in the end. */
    signal_descendants(SIGKILL, 1, INT_MAX);
    return;
  }
  int pid = 0;
  for (ssize_t size; (size = read(fd, text, sizeof text)) > 0;) {
    for (ssize_t i = 0; i < size; i++) {
      if (text[i] >= '0' && text[i] <= '9') {
        pid = pid * 10 + text[i] - '0';
      } else {
        if (pid > 0) kill(pid, SIGKILL);
        pid = 0;
      }
    }
  }
  if (pid > 0) kill(pid, SIGKILL);
  close(fd);
}

/* Collects the dead. False once there is no child left, dead or alive: every descendant is gone then. */
static bool reap(bool killing) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (killing && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) killed++;
    if (pid == program) {
      program_status = status;
      program_ended = true;
    }
  }
  return pid == 0 || errno != ECHILD;
}

/* Kills until nobody is left. The children of a killed process become ours, so that each round reaches one level deeper;
   what has been told to die cannot fork any more. Answers how many could not be ended. */
static int sweep(void) {
  ms_t limit = now() + SWEEP_LIMIT_MS;
  for (int round = 1; reap(true); round++) {
    if (now() > limit) return signal_descendants(SIGKILL, 1, INT_MAX);
    if (round % ROUNDS_BEFORE_STOP == 0) {
      signal_descendants(SIGSTOP, 1, INT_MAX);
      signal_descendants(SIGKILL, 1, INT_MAX);
    }
    kill_children();
    /* The first rounds at once, for what forks as fast as it can; then without taking the processor from the dying. */
    if (round % 4 == 0) nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
  }
  return 0;
}

/* ---- what is written ----------------------------------------------------------------------------------------------- */

static void tell(const char *line) {
  if (set.control < 0) return;
  /* Nobody there to be told is no reason to stop. */
  if (send(set.control, line, strlen(line), MSG_NOSIGNAL) < 0) return;
}

/* A writer that meets a closed socket may lose what it has not read yet: so the service closes first. */
static void let_service_close(void) {
  char bytes[256];
  if (set.control < 0 || shutdown(set.control, SHUT_WR) != 0) return;
  struct pollfd wait = {.fd = set.control, .events = POLLIN};
  while (poll(&wait, 1, CLOSE_LIMIT_MS) > 0 && read(set.control, bytes, sizeof bytes) > 0) continue;
}

/* Space for the line of the end is taken now: a disk that has filled up by then does not matter. */
static void reserve_exit_file(void) {
  if (set.exit_file == NULL) return;
  char blank[LINE_BYTES];
  memset(blank, ' ', sizeof blank);
  snprintf(exit_temporary, sizeof exit_temporary, "%s.new", set.exit_file);
  exit_fd = open(exit_temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (exit_fd >= 0 && write(exit_fd, blank, sizeof blank) < 0) {
    close(exit_fd);
    exit_fd = -1;
  }
}

static void write_record(pid_t keeper, pid_t started) {
  char line[LINE_BYTES], boot[64] = "", state;
  pid_t parent;
  unsigned long long guard_start = 0, keeper_start = 0, program_start = 0;
  if (record_fd < 0) return;
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    ssize_t size = read(fd, boot, sizeof boot - 1);
    boot[size > 0 ? strcspn(boot, "\n") : 0] = 0;
    close(fd);
  }
  read_stat(guard, &state, &parent, &guard_start);
  read_stat(keeper, &state, &parent, &keeper_start);
  read_stat(started, &state, &parent, &program_start);
  int size = snprintf(line, sizeof line,
                      "{\"boot_id\":\"%s\",\"guard\":%d,\"guard_start\":%llu,\"keeper\":%d,\"keeper_start\":%llu,"
                      "\"program\":%d,\"program_start\":%llu}\n",
                      boot, (int)guard, guard_start, (int)keeper, keeper_start, (int)started, program_start);
  if (pwrite(record_fd, line, (size_t)size, 0) != size) return; /* whoever reads it checks it */
}

static void report(int spawn_errno, int survivors) {
  char line[LINE_BYTES], code[16] = "null", signal_number[16] = "null", why[64] = "null";
  struct rusage used;
  getrusage(RUSAGE_CHILDREN, &used);
  if (program_ended && WIFEXITED(program_status)) snprintf(code, sizeof code, "%d", WEXITSTATUS(program_status));
  if (program_ended && WIFSIGNALED(program_status))
    snprintf(signal_number, sizeof signal_number, "%d", WTERMSIG(program_status));
  if (ended_by != NULL) snprintf(why, sizeof why, "\"%s\"", ended_by);
  long long cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000LL +
                  (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
  int size = snprintf(line, sizeof line,
                      "{\"exit_code\":%s,\"signal\":%s,\"spawn_errno\":%d,\"ended_by\":%s,\"killed\":%ld,\"survivors\":%d,"
                      "\"peak_rss_bytes\":%lld,\"cpu_ms\":%lld}\n",
                      code, signal_number, spawn_errno, why, killed, survivors, used.ru_maxrss * 1024LL, cpu);
  if (exit_fd >= 0 && pwrite(exit_fd, line, (size_t)size, 0) == size && ftruncate(exit_fd, size) == 0)
    rename(exit_temporary, set.exit_file);
  tell(line);
  let_service_close();
}

/* ---- the program --------------------------------------------------------------------------------------------------- */

static bool limit(int resource, ms_t value) {
  struct rlimit r;
  if (value <= 0) return true;
  if (getrlimit(resource, &r) != 0) return false;
  rlim_t wanted = (rlim_t)value;
  if (r.rlim_max != RLIM_INFINITY && wanted > r.rlim_max) wanted = r.rlim_max;
  return setrlimit(resource, &(struct rlimit){.rlim_cur = wanted, .rlim_max = wanted}) == 0;
}

static bool share_is_due;

/* A session has a share of the processors of its own (sched(7), autogroup), and a nice value counts only within it: ten agents
   would get ten times what the service gets. For an ordinary user the kernel takes one such wish in a tenth of a second from
   all of the machine: the keeper comes back to it. Where there are no such shares there is no file. */
static void lower_share(pid_t pid) {
  char path[64], text[16];
  snprintf(path, sizeof path, "/proc/%d/autogroup", (int)pid);
  int fd = open(path, O_WRONLY | O_CLOEXEC), size = snprintf(text, sizeof text, "%d", set.nice);
  share_is_due = fd >= 0 && write(fd, text, (size_t)size) < 0 && errno == EAGAIN;
  if (fd >= 0) close(fd);
}

/* In the new process: its own session, and no life without the keeper. Answers only if it could not be started. The memory is
   the keeper's, which stands still until then. The record is written first, so that nothing ever runs that has none. */
static void become(char **command, pid_t keeper) {
  sigset_t none;
  sigemptyset(&none);
  bool ready = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == keeper && setsid() >= 0 &&
               setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) == 0 && limit(RLIMIT_FSIZE, set.fsize) &&
               limit(RLIMIT_NOFILE, set.nofile) && limit(RLIMIT_DATA, set.data) &&
               (set.cwd == NULL || chdir(set.cwd) == 0);
  if (!ready) return;
  if (!limit(RLIMIT_RTTIME, set.mark)) errno = 0; /* only the last net has wider meshes then */
  write_record(keeper, getpid());
  if (set.nice != 0 && setpriority(PRIO_PROCESS, 0, set.nice) != 0) return;
  if (set.nice != 0) lower_share(getpid());
  if (sigprocmask(SIG_SETMASK, &none, NULL) == 0) execv(command[0], command);
}

/* Answers 0, or why it could not be started. */
static int start(char **command) {
  static volatile int failure;
  pid_t keeper = getpid();
  program = vfork(); /* comes back here when the new process runs, or has failed */
  if (program < 0) return errno;
  if (program == 0) {
    become(command, keeper);
    failure = errno != 0 ? errno : ECHILD;
    _exit(127);
  }
  return failure;
}

/* ---- the keeper ---------------------------------------------------------------------------------------------------- */

static ms_t timeout_at = NEVER, term_at = NEVER, kill_at = NEVER, dead_at = NEVER, check_at = NEVER, grew_at;
static ms_t output_size = -1;

static void end(const char *why, bool at_once) {
  bool first = ended_by == NULL;
  if (first) ended_by = why;
  if (at_once || set.kill <= 0) kill_at = 0;
  else if (first) {
    /* A sandbox would die of it, and take what is in it along without a word. */
    if (set.depth == 0) kill(-program, SIGINT);
    else signal_descendants(SIGINT, (int)set.depth + 1, (int)set.depth + 1);
    term_at = now() + set.term;
    kill_at = now() + set.kill;
  }
}

static void terminate(void) {
  term_at = NEVER;
  signal_descendants(SIGTERM, (int)set.depth + 1, INT_MAX);
  /* A stopped process takes the signal only when it runs again. */
  signal_descendants(SIGCONT, 1, INT_MAX);
}

static void begin_work(void) {
  set.waits = false;
  timeout_at = set.timeout > 0 ? now() + set.timeout : NEVER;
  grew_at = now();
}

static void read_control(void) {
  char bytes[256];
  ssize_t size = read(set.control, bytes, sizeof bytes);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    close(set.control);
    set.control = -1;
    dead_at = NEVER;
    if (!set.adopt) end("service_gone", true);
    return;
  }
  if (set.dead_man > 0) dead_at = now() + set.dead_man;
  for (ssize_t i = 0; i < size; i++) {
    if (bytes[i] == 'e') end("request", false);
    if (bytes[i] == 'g' && set.waits) begin_work();
    if (bytes[i] == 'h') {
      set.kill = 0;
      if (ended_by != NULL) end(ended_by, true);
    }
  }
}

static void read_signals(int signals) {
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT || info.ssi_signo == SIGHUP) end("signal", false);
    if (info.ssi_signo == SIGUSR1) end("signal", true);
    if (info.ssi_signo == SIGUSR2) end("supervisor_killed", true);
  }
}

static void check_output(void) {
  struct stat out, err;
  check_at = now() + OUTPUT_CHECK_MS;
  if (fstat(STDOUT_FILENO, &out) != 0 || fstat(STDERR_FILENO, &err) != 0) return;
  ms_t size = (ms_t)out.st_size + (ms_t)err.st_size;
  if (size != output_size) grew_at = now();
  output_size = size;
  if (set.output > 0 && size > set.output) end("output_limit", false);
  if (set.idle > 0 && !set.waits && now() - grew_at >= set.idle) end("idle", false);
}

static int time_left(void) {
  ms_t soonest = timeout_at, all[] = {term_at, kill_at, dead_at, check_at};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) soonest = all[i] < soonest ? all[i] : soonest;
  if (soonest == NEVER) return -1;
  ms_t left = soonest - now();
  return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static void watch(int signals) {
  if (!set.waits) begin_work();
  dead_at = set.dead_man > 0 && set.control >= 0 ? now() + set.dead_man : NEVER;
  check_at = set.idle > 0 || set.output > 0 ? now() + OUTPUT_CHECK_MS : NEVER;
  while (reap(false) && !program_ended && now() < kill_at) {
    struct pollfd waits[] = {{.fd = signals, .events = POLLIN}, {.fd = set.control, .events = POLLIN}};
    if (poll(waits, 2, time_left()) > 0) {
      if (waits[0].revents != 0) read_signals(signals);
      if (waits[1].revents != 0) read_control();
    }
    if (now() >= check_at) check_output();
    if (share_is_due) lower_share(program);
    if (now() >= timeout_at) {
      timeout_at = NEVER;
      end("timeout", false);
    }
    if (now() >= dead_at) {
      dead_at = NEVER;
      /* In `adopt` nobody ends a job because the service is gone, or slow. */
      if (!set.adopt) end("dead_man", true);
    }
    if (now() >= term_at) terminate();
  }
}

static int keep(char **command, const sigset_t *signals) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_PDEATHSIG, SIGUSR2);
  if (getppid() != guard) return 1;
  setpgid(0, 0); /* a signal to the guard's group is not one to us */
  int queue = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
  reserve_exit_file();
  int spawn_errno = queue < 0 ? errno : start(command);
  if (spawn_errno == 0) {
    char line[64];
    snprintf(line, sizeof line, "{\"pid\":%d,\"keeper\":%d}\n", (int)program, (int)getpid());
    tell(line);
    watch(queue);
    /* A short flood is judged after the end. */
    struct stat out, err;
    if (ended_by == NULL && set.output > 0 && fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
        (ms_t)out.st_size + (ms_t)err.st_size > set.output)
      ended_by = "output_limit";
  }
  int survivors = sweep();
  if (spawn_errno != 0) program_ended = false;
  report(spawn_errno, survivors);
  return 0;
}

/* ---- the guard ----------------------------------------------------------------------------------------------------- */

static int guard_keeper(pid_t keeper, const sigset_t *signals) {
  for (;;) {
    siginfo_t info;
    int number = sigwaitinfo(signals, &info), status;
    if (number == SIGTERM || number == SIGUSR1 || number == SIGINT || number == SIGHUP) kill(keeper, number);
    if (number != SIGCHLD) continue;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (pid != keeper) continue;
      if (WIFEXITED(status)) return WEXITSTATUS(status);
      ended_by = "supervisor_killed";
      reserve_exit_file();
      report(0, sweep());
      return 0;
    }
  }
}

static bool hold_record(void) {
  if (set.record == NULL) return true;
  record_fd = open(set.record, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  /* What an earlier one wrote goes only when it is surely gone. */
  return record_fd >= 0 && flock(record_fd, LOCK_EX | LOCK_NB) == 0 && ftruncate(record_fd, 0) == 0;
}

static int supervise(char **command) {
  sigset_t signals;
  sigemptyset(&signals);
  const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&signals, numbers[i]);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  if (set.control >= 0) fcntl(set.control, F_SETFD, FD_CLOEXEC);
  guard = getpid();
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || !hold_record()) {
    report(errno, 0);
    return 0;
  }
  pid_t keeper = fork();
  if (keeper < 0) {
    report(errno, 0);
    return 0;
  }
  return keeper == 0 ? keep(command, &signals) : guard_keeper(keeper, &signals);
}

/* ---- the command line ---------------------------------------------------------------------------------------------- */

static int self_test(void) {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return 1;
  int ready[2];
  char byte;
  if (pipe(ready) != 0) return 1;
  pid_t child = fork();
  if (child < 0) return 1;
  if (child == 0) { /* a daemon in the old way: twice forked, a session of its own */
    if (fork() != 0) _exit(0);
    setsid();
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  if (read(ready[0], &byte, 1) != 1 || waitpid(child, NULL, 0) != child) return 1;
  if (sweep() != 0 || killed != 1) return 1;
  puts("supervise 2");
  return 0;
}

static int is_held(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 1;
  return flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK ? 0 : 1;
}

static bool setting(const char *argument) {
  const struct {
    const char *name;
    ms_t *number;
    const char **text;
  } known[] = {
      {"timeout-ms", &set.timeout, NULL}, {"idle-ms", &set.idle, NULL},         {"output-bytes", &set.output, NULL},
      {"term-ms", &set.term, NULL},       {"kill-ms", &set.kill, NULL},         {"dead-man-ms", &set.dead_man, NULL},
      {"fsize", &set.fsize, NULL},        {"nofile", &set.nofile, NULL},        {"data", &set.data, NULL},
      {"depth", &set.depth, NULL},        {"mark", &set.mark, NULL},
      {"cwd", NULL, &set.cwd},            {"record", NULL, &set.record},        {"exit", NULL, &set.exit_file},
  };
  const char *value = strchr(argument, '=');
  if (value == NULL) return false;
  size_t length = (size_t)(value++ - argument);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strlen(known[i].name) != length || strncmp(argument, known[i].name, length) != 0) continue;
    if (known[i].text != NULL) *known[i].text = value;
    else *known[i].number = atoll(value);
    return true;
  }
  if (strncmp(argument, "control=", 8) == 0) set.control = atoi(value);
  else if (strncmp(argument, "nice=", 5) == 0) set.nice = atoi(value);
  else if (strncmp(argument, "adopt=", 6) == 0) set.adopt = atoi(value) != 0;
  else if (strncmp(argument, "waits=", 6) == 0) set.waits = atoi(value) != 0;
  else return false;
  return true;
}

int main(int count, char **arguments) {
  if (count == 2 && strcmp(arguments[1], "self-test") == 0) return self_test();
  if (count == 3 && strcmp(arguments[1], "is-held") == 0) return is_held(arguments[2]);
  int at = 1;
  while (at < count && strcmp(arguments[at], "--") != 0 && setting(arguments[at])) at++;
  if (at + 1 >= count || strcmp(arguments[at], "--") != 0) {
    fprintf(stderr, "supervise: not a setting, or no program after --: %s\n", at < count ? arguments[at] : "");
    return 64;
  }
  return supervise(arguments + at + 1);
}
