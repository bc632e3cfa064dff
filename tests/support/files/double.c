/* A delegate for tests: a real plugin that does what a file tells it and writes down how it was called.
 *
 * It is installed as <host>/bin/<type> (any name, any number of copies) and works in <host>/double:
 *
 *   <type>/<VERB>.<n>  what to do at the n-th call of this verb, else <type>/<VERB>; neither: behave
 *   calls/<time>-<pid>-<type>/  environ cmdline status stat fds cwd stdin, then `ready`; at its end `ended`
 *
 * Instructions are lines; after an empty line comes what is printed, byte for byte:
 *
 *   exit N | signal N | stderr TEXT | sleep SECONDS | ignore N (a signal)
 *   until NAME      goes on when this file exists in <host>/double
 *   deaf            never reads stdin
 *   child SECONDS   leaves a child behind that holds stdout and stderr; `daemon SECONDS`: in a session of its own
 *   echo KEY...     prints prevResult as a plugin does whose types don't know these keys
 *   behave          prints what it would without instructions
 *
 * To behave is: VERSION knows all versions, ADD echoes prevResult or answers with one address, the rest is silent. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct text { char *at; size_t size; };

static char base[4096], record[4096 + 300];

static void die(const char *what) {
    fprintf(stderr, "double: %s: %m\n", what);
    exit(97);
}

__attribute__((format(printf, 1, 2))) static char *format(const char *how, ...) {
    char *made;
    va_list args;
    va_start(args, how);
    if (vasprintf(&made, how, args) < 0) die("memory");
    va_end(args);
    return made;
}

static struct text slurp(int fd) {
    struct text all = {malloc(1), 0};
    size_t room = 1;
    ssize_t n;
    while ((n = read(fd, all.at + all.size, room - all.size)) > 0)
        if ((all.size += (size_t)n) == room) all.at = realloc(all.at, room *= 4);
    if (n < 0) die("read");
    all.at = realloc(all.at, all.size + 1);
    all.at[all.size] = 0;
    return all;
}

static void spill(int fd, const char *at, size_t size) {
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0) die("write");
        at += n, size -= (size_t)n;
    }
}

static void note(const char *name, const char *at, size_t size) {
    int fd = open(format("%s/%s", record, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) die(name);
    spill(fd, at, size);
    close(fd);
}

static void note_proc(const char *name) {
    int fd = open(format("/proc/self/%s", name), O_RDONLY | O_CLOEXEC);
    if (fd < 0) die(name);
    struct text all = slurp(fd);
    close(fd);
    note(name, all.at, all.size);
}

static void note_descriptors(void) {
    char *lines = format("%s", ""), target[4096];
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) die("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir)) continue;
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (n < 0) die(entry->d_name);
        target[n] = 0;
        lines = format("%s%s %s\n", lines, entry->d_name, target);
    }
    closedir(dir);
    note("fds", lines, strlen(lines));
}

static char *now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return format("%011ld%09ld", (long)t.tv_sec, t.tv_nsec);
}

static void rest(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t)) {}
}

static void await(const char *name) {
    const char *path = format("%s/%s", base, name);
    while (access(path, F_OK)) rest(0.005);
}

/* As much JSON as a well-formed request needs. */
static const char *skip(const char *p) {
    if (*p == '"') {
        for (p++; *p && *p != '"'; p++) if (*p == '\\') p++;
        return p + 1;
    }
    if (*p == '{' || *p == '[') {
        int depth = 0;
        do {
            if (*p == '"') { p = skip(p); continue; }
            depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
            p++;
        } while (depth && *p);
        return p;
    }
    return p + strcspn(p, ",]} \t\r\n");
}

static const char *space(const char *p) { return p + strspn(p, " \t\r\n,:"); }

static const char *find(const char *object, const char *key) {
    size_t size = strlen(key);
    const char *p = space(object);
    if (*p++ != '{') return NULL;
    for (p = space(p); *p == '"'; p = space(skip(p))) {
        const char *name = p + 1;
        p = space(skip(p));
        if (!strncmp(name, key, size) && name[size] == '"') return p;
    }
    return NULL;
}

static int listed(const char *names, const char *key, size_t size) {
    for (const char *p = names; *p; p += strcspn(p, " "), p += strspn(p, " "))
        if (strcspn(p, " ") == size && !strncmp(p, key, size)) return 1;
    return 0;
}

static const char *copy(const char *p, const char *without) {
    int object = *p == '{', some = 0;
    if (!object && *p != '[') {
        const char *end = skip(p);
        fwrite(p, 1, (size_t)(end - p), stdout);
        return end;
    }
    putchar(*p);
    for (p = space(p + 1); *p && *p != '}' && *p != ']'; p = space(p)) {
        if (object) {
            const char *key = p, *end = skip(p);
            p = space(end);
            if (listed(without, key + 1, (size_t)(end - key - 2))) { p = skip(p); continue; }
            printf("%s%.*s:", some++ ? "," : "", (int)(end - key), key);
        } else if (some++) putchar(',');
        p = copy(p, without);
    }
    putchar(*p);
    return p + 1;
}

static void add(const char *request, const char *without) {
    const char *previous = find(request, "prevResult"), *version = find(request, "cniVersion");
    int size = version ? (int)(skip(version) - version) : 0;
    if (previous && *previous == '{') { copy(previous, without); return; }
    if (!version || strncmp(version, "\"0.2", 4) == 0 || strncmp(version, "\"0.1", 4) == 0)
        printf("{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.1.0.5/24\",\"gateway\":\"10.1.0.1\",\"routes\":[{\"dst\":\"0.0.0.0/0\"}]},\"dns\":{}}");
    else
        printf("{\"cniVersion\":%.*s,\"interfaces\":[{\"name\":\"%s\",\"mac\":\"02:00:00:00:00:01\",\"sandbox\":\"%s\"}],"
               "\"ips\":[{%s\"interface\":0,\"address\":\"10.1.0.5/24\",\"gateway\":\"10.1.0.1\"}],\"routes\":[{\"dst\":\"0.0.0.0/0\"}],\"dns\":{}}",
               size, version, getenv("CNI_IFNAME"), getenv("CNI_NETNS"), version[1] == '0' ? "\"version\":\"4\"," : "");
}

static void behave(const char *verb, const char *request) {
    if (!strcmp(verb, "ADD")) add(request, "");
    if (!strcmp(verb, "VERSION"))
        printf("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n");
}

/* The instructions for this call, and its number. */
static struct text told(const char *type, const char *verb) {
    int fd = open(format("%s/%s/%s.calls", base, type, verb), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct stat info;
    if (fd < 0 || write(fd, ".", 1) != 1 || fstat(fd, &info)) die("calls");
    close(fd);
    fd = open(format("%s/%s/%s.%ld", base, type, verb, (long)info.st_size), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fd = open(format("%s/%s/%s", base, type, verb), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return (struct text){NULL, 0};
    struct text all = slurp(fd);
    close(fd);
    return all;
}

static void leave_behind(double seconds, int daemon) {
    int ready[2];
    if (pipe(ready)) die("pipe");
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child) {
        char *pid = format("%d", child), told;
        note("child", pid, strlen(pid));
        close(ready[1]);
        if (read(ready[0], &told, 1)) die("child"); /* until then it is still in our group */
        close(ready[0]);
        return;
    }
    if (daemon) setsid();
    close(ready[0]), close(ready[1]);
    rest(seconds);
    _exit(0);
}

int main(void) {
    char *path = (char *)getauxval(AT_EXECFN), *type = strrchr(path, '/') + 1;
    const char *verb = getenv("CNI_COMMAND") ? getenv("CNI_COMMAND") : "NONE";
    snprintf(base, sizeof base, "%.*s/../double", (int)(type - 1 - path), path);
    snprintf(record, sizeof record, "%s/calls/%s-%d-%s", base, now(), getpid(), type);
    if (mkdir(record, 0700)) die(record);
    note_descriptors();
    note_proc("environ"), note_proc("cmdline"), note_proc("status"), note_proc("stat");
    char *cwd = getcwd(NULL, 0);
    note("cwd", cwd, strlen(cwd));

    struct text orders = told(type, verb), request = {"", 0};
    char *line = orders.at ? orders.at : "", *end, *body = NULL;
    const char *without = NULL, *awaited = NULL;
    int status = 0, fatal = 0, deaf = 0, good = !orders.at;
    double sleep_for = 0;
    struct { double seconds; int daemon; } child = {0, 0};
    for (; *line; line = end + 1) {
        end = strchrnul(line, '\n');
        if (end == line) { body = line + 1; break; }
        char *word = strndup(line, (size_t)(end - line)), *value = strchrnul(word, ' ');
        if (*value) *value++ = 0;
        if (!strcmp(word, "exit")) status = atoi(value);
        else if (!strcmp(word, "signal")) fatal = atoi(value);
        else if (!strcmp(word, "stderr")) fprintf(stderr, "%s\n", value);
        else if (!strcmp(word, "sleep")) sleep_for = atof(value);
        else if (!strcmp(word, "until")) awaited = value;
        else if (!strcmp(word, "ignore")) signal(atoi(value), SIG_IGN);
        else if (!strcmp(word, "deaf")) deaf = 1;
        else if (!strcmp(word, "child")) child.seconds = atof(value);
        else if (!strcmp(word, "daemon")) child.seconds = atof(value), child.daemon = 1;
        else if (!strcmp(word, "echo")) without = value;
        else if (!strcmp(word, "behave")) good = 1;
        else die(word);
        if (!*end) break;
    }
    if (!deaf) {
        request = slurp(0);
        note("stdin", request.at, request.size);
    }
    if (child.seconds > 0) leave_behind(child.seconds, child.daemon);
    note("ready", "", 0);
    rest(sleep_for);
    if (awaited) await(awaited);
    if (without) add(request.at, without);
    else if (body) fflush(stdout), spill(1, body, orders.size - (size_t)(body - orders.at));
    else if (good) behave(verb, request.at);
    fflush(stdout);
    char *time = now();
    note("ended", time, strlen(time));
    if (fatal) signal(fatal, SIG_DFL), kill(getpid(), fatal);
    return status;
}
