/* The part that the peers in C have in common: rounds of operations, by processor time. */
#include <time.h>

#define ROUNDS 9

struct operation {
    const char *name;
    void (*run)(void);
};

static void die(const char *problem)
{
    fprintf(stderr, "%s\n", problem);
    exit(1);
}

static double processor_time(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Nanoseconds of one operation. */
static double round_of(const struct operation *operation, double seconds)
{
    double start = processor_time(), now = start;
    long count = 0;
    while (now - start < seconds) {
        int i;
        for (i = 0; i < 100; i++)
            operation->run();
        count += 100;
        now = processor_time();
    }
    return (now - start) * 1e9 / (double)count;
}

static char *read_sample(const char *folder, const char *name, size_t *size)
{
    char path[4096];
    char *bytes = malloc(65536);
    FILE *file;
    snprintf(path, sizeof path, "%s/%s.sip", folder, name);
    file = fopen(path, "rb");
    if (!file || !bytes)
        die("a sample cannot be read");
    *size = fread(bytes, 1, 65535, file);
    bytes[*size] = 0;
    fclose(file);
    return bytes;
}

static int measure(int argc, char **argv, void (*load)(const char *, size_t), const struct operation *operations, int count)
{
    static const char *samples[] = { "invite", "options" };
    int s, o, r;
    if (argc < 3)
        die("MESSAGES SECONDS [COUNT OPERATION-SAMPLE]");
    for (s = 0; s < 2; s++) {
        size_t size = 0;
        const char *bytes = read_sample(argv[1], samples[s], &size);
        load(bytes, size);
        for (o = 0; o < count; o++) {
            if (argc > 4) {
                char name[64];
                long n;
                snprintf(name, sizeof name, "%s-%s", operations[o].name, samples[s]);
                if (strcmp(name, argv[4]) == 0)
                    for (n = atol(argv[3]); n > 0; n--)
                        operations[o].run();
                continue;
            }
            round_of(&operations[o], atof(argv[2]));
            printf("%s %s", operations[o].name, samples[s]);
            for (r = 0; r < ROUNDS; r++)
                printf(" %.1f", round_of(&operations[o], atof(argv[2]) / ROUNDS));
            printf("\n");
            fflush(stdout);
        }
    }
    return 0;
}
