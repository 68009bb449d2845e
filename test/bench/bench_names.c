/*
 * bench_names: the name server of a node, in a network namespace of its own.
 *
 *   bench_names MINIK8S FOLDER NAMES CHANGES
 *
 * Starts `minik8s resolver` on 127.0.0.1 over NAMES files with three addresses each. A change: one file is
 * replaced by rename, from there to the first answer that has the new address (asked without a pause).
 * Questions per second: one client, 64 under way, for names in turn; the same against dnsmasq with the same
 * directory, where it is installed. Prints lines "sample NAME VALUE".
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

#define WINDOW 64
#define SECONDS 2

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void write_name(const char *folder, int i, int version)
{
    auto_free char *name = mem_printf("s%d", i), *path = file_join(folder, name);
    auto_str text = {0};
    for (int k = 0; k < 3; k++)
        str_addf(&text, "10.%d.%d.%d s%d.bench.svc.cluster.local\n", version % 250 + 1, i % 250, k + 1, i);
    if (file_write_atomic(path, text.data, text.len, 0644, NULL) < 0)
        die(path);
}

static size_t put_question(unsigned char *out, int i, uint16_t id)
{
    static const char *const rest[] = {"bench", "svc", "cluster", "local"};
    char label[32];
    unsigned char *at = out + 12;
    memset(out, 0, 12);
    out[0] = (unsigned char)(id >> 8);
    out[1] = (unsigned char)id;
    out[2] = out[5] = 1;
    *at++ = (unsigned char)snprintf(label, sizeof(label), "s%d", i);
    memcpy(at, label, strlen(label));
    at += strlen(label);
    for (int k = 0; k < 4; k++) {
        *at++ = (unsigned char)strlen(rest[k]);
        memcpy(at, rest[k], strlen(rest[k]));
        at += strlen(rest[k]);
    }
    memcpy(at, "\0\0\1\0\1", 5);
    return (size_t)(at + 5 - out);
}

static int open_client(void)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(53), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct timeval limit = {.tv_usec = 200000};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)(const void *)&to, sizeof(to)) < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

/* The second byte of the first address, which is the version of the file; 0: no answer. */
static int ask(int fd, int i)
{
    unsigned char packet[512];
    size_t question = put_question(packet, i, 7);
    if (send(fd, packet, question, 0) < 0)
        return 0;
    ssize_t n = recv(fd, packet, sizeof(packet), 0);
    return n >= (ssize_t)question + 16 && packet[7] ? packet[question + 13] : 0;
}

static void await(int fd, int names)
{
    int64_t end = now() + 60000000000;
    while (ask(fd, names - 1) == 0 || ask(fd, 0) == 0)
        if (now() > end)
            die("the server does not answer");
}

/* *lost: questions that had no answer within the socket's timeout; those under way then are given up. */
static double questions_per_s(int fd, int names, long *lost)
{
    unsigned char packet[512];
    long sent = 0, got = 0;
    *lost = 0;
    int64_t begin = now(), end = begin + (int64_t)SECONDS * 1000000000;
    while (now() < end) {
        for (; sent - got < WINDOW; sent++) {
            size_t len = put_question(packet, (int)(sent % names), (uint16_t)sent);
            if (send(fd, packet, len, 0) < 0)
                die("send");
        }
        if (recv(fd, packet, sizeof(packet), 0) < 0) {
            *lost += sent - got;
            got = sent;
            continue;
        }
        got++;
        while (recv(fd, packet, sizeof(packet), MSG_DONTWAIT) > 0)
            got++;
    }
    return (double)(got - *lost) * 1e9 / (double)(now() - begin);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void changes(int fd, const char *folder, int names, int count)
{
    auto_free int64_t *took = mem_array((size_t)count, sizeof(*took));
    for (int i = 0; i < count; i++) {
        int64_t begin = now();
        write_name(folder, i * 37 % names, i + 1);
        while (ask(fd, i * 37 % names) != (i + 1) % 250 + 1)
            if (now() > begin + 5000000000)
                die("a change was not seen");
        took[i] = now() - begin;
    }
    qsort(took, (size_t)count, sizeof(*took), by_value);
    printf("sample names_change_p50_ms %.3f\nsample names_change_p99_ms %.3f\n",
           (double)took[count / 2] / 1e6, (double)took[(count - 1) * 99 / 100] / 1e6);
}

static pid_t start(const char *const *argv)
{
    pid_t pid = file_spawn(argv, NULL, "/dev/null", NULL);
    if (pid < 0)
        die(argv[0]);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    auto_fd fd = socket(AF_INET, SOCK_DGRAM, 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        die("lo");
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return fprintf(stderr, "usage: bench_names MINIK8S FOLDER NAMES CHANGES\n"), 2;
    const char *folder = argv[2];
    int names = atoi(argv[3]);
    if (unshare(CLONE_NEWNET) < 0)
        die("unshare");
    loopback_up();
    for (int i = 0; i < names; i++)
        write_name(folder, i, 0);
    const char *const own[] = {argv[1], "resolver", "--names", folder, "--address", "127.0.0.1", NULL};
    pid_t pid = start(own);
    int fd = open_client();
    int64_t begin = now();
    await(fd, names);
    printf("sample names_load_ms %.1f\n", (double)(now() - begin) / 1e6);
    changes(fd, folder, names, atoi(argv[4]));
    long lost;
    printf("sample names_per_s %.0f\n", questions_per_s(fd, names, &lost));
    printf("sample names_lost %ld\n", lost);
    end(pid);
    if (access("/usr/sbin/dnsmasq", X_OK) < 0)
        return 0;
    auto_free char *hosts = mem_printf("--hostsdir=%s", folder);
    const char *const other[] = {"/usr/sbin/dnsmasq",
                                 "--keep-in-foreground",
                                 "--conf-file=/dev/null",
                                 "--no-resolv",
                                 "--no-hosts",
                                 "--bind-interfaces",
                                 "--listen-address=127.0.0.1",
                                 "--user=root",
                                 "--local=/cluster.local/",
                                 "--cache-size=10000",
                                 "--local-ttl=5",
                                 hosts,
                                 NULL};
    pid = start(other);
    await(fd, names);
    printf("sample names_dnsmasq_per_s %.0f\n", questions_per_s(fd, names, &lost));
    printf("sample names_dnsmasq_lost %ld\n", lost);
    end(pid);
    return 0;
}
