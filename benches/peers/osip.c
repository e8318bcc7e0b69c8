/* osip MESSAGES SECONDS: as sofia.c, for libosip2.
 *
 * libosip2 makes typed values of the headers of routing, their URIs among them, as it reads, so `typed` is `parse` and
 * `write`. It writes anew after osip_message_force_update only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <osip2/osip.h>
#include <osipparser2/osip_parser.h>
#include "rounds.h"

static const char *text;
static size_t length;
static osip_message_t *parsed;

static osip_message_t *parse(void)
{
    osip_message_t *msg;
    if (osip_message_init(&msg) || osip_message_parse(msg, text, length))
        die("libosip2 does not read the sample");
    return msg;
}

static void write_anew(osip_message_t *msg)
{
    char *out = NULL;
    size_t size = 0;
    osip_message_force_update(msg);
    if (osip_message_to_str(msg, &out, &size) || size + 200 < length)
        die("libosip2 does not write the sample");
    osip_free(out);
}

static void run_parse(void) { osip_message_free(parse()); }
static void run_typed(void) { osip_message_t *msg = parse(); write_anew(msg); osip_message_free(msg); }
static void run_write(void) { write_anew(parsed); }

static void load(const char *bytes, size_t size)
{
    text = bytes;
    length = size;
    parsed = parse();
}

static const struct operation operations[] = { { "parse", run_parse }, { "typed", run_typed }, { "write", run_write } };

int main(int argc, char **argv)
{
    parser_init();
    return measure(argc, argv, load, operations, 3);
}
