/* Round trips of ready-made commands to Redis, whose answers nobody decodes: the least that a read can take.

   floor PORT CONNECTIONS MILLISECONDS FILE    FILE: for each command its length in decimal, a newline, its bytes

   Every connection has one command under way. Prints RESULT requests duration p50 p95 p99 p99.9 errors, then
   CPU microseconds; all times in microseconds. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 4 << 20, MOST_LATENCIES = 1 << 24, MOST_CONNECTIONS = 256 };
typedef struct { const char *bytes; size_t length; } Command;
typedef struct { int socket; double sent; } Connection;

static Command *commands;
static size_t command_count, next_command;
static char answer[MOST_BYTES];
static float latencies[MOST_LATENCIES];

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void read_commands(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t length;
    if (!file) fail(path);
    while (fscanf(file, "%zu", &length) == 1 && fgetc(file) == '\n') {
        char *bytes = malloc(length);
        if (fread(bytes, 1, length, file) != length) fail(path);
        commands = realloc(commands, (command_count + 1) * sizeof *commands);
        commands[command_count++] = (Command){bytes, length};
    }
    if (!command_count) { fprintf(stderr, "%s has no command\n", path); exit(1); }
}

static void send_next(Connection *connection) {
    const Command *command = &commands[next_command++ % command_count];
    connection->sent = now();
    for (size_t done = 0; done < command->length;) {
        ssize_t n = write(connection->socket, command->bytes + done, command->length - done);
        if (n <= 0) fail("write");
        done += n;
    }
}

static void receive(const Connection *connection) {
    size_t have = 0, at = 0;
    for (long left = 1; left > 0;) { /* values still to come */
        char *end = memchr(answer + at, '\n', have - at);
        if (end) {
            long number = strtol(answer + at + 1, NULL, 10);
            size_t after = end + 1 - answer;
            if (answer[at] == '-' || answer[at] == '_' || number < 0) {
                fprintf(stderr, "an error, or a value is missing: %.*s\n", (int)(have - at), answer + at);
                exit(1);
            }
            if (answer[at] == '$') after += number + 2;
            if (after <= have) {
                left += answer[at] == '*' ? number - 1 : -1;
                at = after;
                continue;
            }
        }
        ssize_t n = read(connection->socket, answer + have, MOST_BYTES - have);
        if (n <= 0) fail("read");
        have += n;
    }
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    static Connection connections[MOST_CONNECTIONS];
    int one = 1, count;
    long total = 0;
    struct rusage usage;
    if (argc != 5 || (count = atoi(argv[2])) < 1 || count > MOST_CONNECTIONS) return 2;
    read_commands(argv[4]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < count; i++) {
        connections[i].socket = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(connections[i].socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
        setsockopt(connections[i].socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    double began = now(), until = began + atof(argv[3]) * 1e3, at = began;
    for (int i = 0; i < count; i++) send_next(&connections[i]);
    for (int i = 0; at < until && total < MOST_LATENCIES; i = (i + 1) % count) {
        receive(&connections[i]);
        at = now();
        latencies[total++] = at - connections[i].sent;
        send_next(&connections[i]);
    }
    getrusage(RUSAGE_SELF, &usage);
    qsort(latencies, total, sizeof *latencies, ascending);
    printf("RESULT %ld %.0f", total, at - began);
    for (int i = 0; i < 4; i++) printf(" %.0f", latencies[(long)((total - 1) * (double[]){.5, .95, .99, .999}[i])]);
    printf(" 0\nCPU %.0f\n", (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return 0;
}
