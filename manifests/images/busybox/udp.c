/* udp HOST PORT TEXT: sends one datagram, prints the answer; status 1 if none comes within a second. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *to = NULL;
    if (argc != 4) {
        fprintf(stderr, "usage: udp HOST PORT TEXT\n");
        return 2;
    }
    int problem = getaddrinfo(argv[1], argv[2], &hints, &to);
    if (problem) {
        fprintf(stderr, "udp: %s: %s\n", argv[1], gai_strerror(problem));
        return 1;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct timeval limit = {.tv_sec = 1};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    char answer[65536];
    ssize_t n = -1;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0 && send(fd, argv[3], strlen(argv[3]), 0) >= 0)
        n = recv(fd, answer, sizeof(answer), 0);
    if (n < 0) {
        perror("udp");
        return 1;
    }
    printf("%.*s\n", (int)n, answer);
    return 0;
}
