/* sofia MESSAGES SECONDS: prints `OPERATION SAMPLE NANOSECONDS…` a line, processor time of one operation, one figure a
 * round. With a third argument COUNT and a fourth `OPERATION-SAMPLE` it does that operation COUNT times in silence, for
 * valgrind.
 *
 * sofia-sip makes typed values of all headers as it reads, so `typed` is `parse` and `write`. It keeps the received text
 * of each header to write it again; `write` drops that text, so that headers are written anew, as in the other libraries. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sofia-sip/msg.h>
#include <sofia-sip/msg_addr.h>
#include <sofia-sip/msg_header.h>
#include <sofia-sip/msg_parser.h>
#include <sofia-sip/sip.h>
#include <sofia-sip/sip_header.h>
#include <sofia-sip/sip_parser.h>
#include "rounds.h"

static const char *text;
static size_t length;
static msg_t *parsed;

static msg_t *parse(void)
{
    msg_t *msg = msg_make(sip_default_mclass(), 0, text, (isize_t)length);
    sip_t *sip = msg ? sip_object(msg) : NULL;
    if (!sip || sip->sip_error || !sip->sip_request || !sip->sip_via || !sip->sip_to || !sip->sip_from || !sip->sip_cseq)
        die("sofia-sip does not read the sample");
    return msg;
}

static void write_anew(msg_t *msg)
{
    msg_header_t *h;
    char *out;
    size_t size = 0;
    for (h = (msg_header_t *)sip_object(msg)->sip_request; h; h = h->sh_succ) {
        if (h->sh_class != sip_payload_class)
            msg_fragment_clear(h->sh_common);
    }
    out = msg_as_string(msg_home(msg), msg, NULL, 0, &size);
    if (!out || size + 200 < length)
        die("sofia-sip does not write the sample");
    su_free(msg_home(msg), out);
}

static void run_parse(void) { msg_destroy(parse()); }
static void run_typed(void) { msg_t *msg = parse(); write_anew(msg); msg_destroy(msg); }
static void run_write(void) { write_anew(parsed); }

static void load(const char *bytes, size_t size)
{
    text = bytes;
    length = size;
    parsed = parse();
}

static const struct operation operations[] = { { "parse", run_parse }, { "typed", run_typed }, { "write", run_write } };

int main(int argc, char **argv) { return measure(argc, argv, load, operations, 3); }
