/* Kite's binary frame to encoded tick bodies: the twin of `repack_frame` in protocol/kite/repack.py,
   byte for byte. The layouts are in protocol/kite/ticks.py. */

#include "loops.h"

#define PREFIX_BYTES 2 /* the packet count of a frame, and the length before each packet */
#define RUN_MAX 256
#define LONG_RUN 45 /* packets: from here on numbers keep their width, as `columns` writes them */
#define DEPTH_BYTES 120
#define FIELDS 19
#define NUMBER_BYTES_MAX 5
#define BODY_BYTES_MAX (3 + (FIELDS - 1) * NUMBER_BYTES_MAX + 2 + DEPTH_BYTES)

enum mode { LTP = 1, QUOTE = 2, FULL = 3 };

/* What stands in a field of a body: nothing, a number of the packet (a time of zero is none), its
   depth, or what the packet does not say itself. */
enum what { UNSIGNED, SIGNED, NIL, TIME, DEPTH, MODE, DIVISOR };
static const uint8_t WIDE[] = {[UNSIGNED] = 0xCE, [SIGNED] = 0xD2}; /* msgpack's markers */

struct field {
    uint8_t what;
    uint8_t at; /* its place in the packet */
};

struct kind {
    uint16_t packet_bytes;
    uint8_t mode;
    struct field fields[FIELDS]; /* in the order of `TickBody` */
};

#define HEAD {UNSIGNED, 0}, {MODE, 0}, {DIVISOR, 0}, {SIGNED, 4}
#define NO_QUANTITIES {NIL, 0}, {NIL, 0}, {NIL, 0}, {NIL, 0}, {NIL, 0}
#define NO_PRICES {NIL, 0}, {NIL, 0}, {NIL, 0}, {NIL, 0}
#define NO_INTEREST {NIL, 0}, {NIL, 0}, {NIL, 0}, {NIL, 0} /* nor a time of the last trade */
#define NO_TIME_NOR_DEPTH {NIL, 0}, {NIL, 0}
#define QUANTITIES {UNSIGNED, 8}, {SIGNED, 12}, {UNSIGNED, 16}, {UNSIGNED, 20}, {UNSIGNED, 24}
#define PRICES {SIGNED, 28}, {SIGNED, 32}, {SIGNED, 36}, {SIGNED, 40}
#define INDEX_PRICES {SIGNED, 16}, {SIGNED, 8}, {SIGNED, 12}, {SIGNED, 20}
#define INTEREST {TIME, 44}, {UNSIGNED, 48}, {UNSIGNED, 52}, {UNSIGNED, 56}

static const struct kind KINDS[] = {
    {8, LTP, {HEAD, NO_QUANTITIES, NO_PRICES, NO_INTEREST, NO_TIME_NOR_DEPTH}},
    {28, QUOTE, {HEAD, NO_QUANTITIES, INDEX_PRICES, NO_INTEREST, NO_TIME_NOR_DEPTH}},
    {32, FULL, {HEAD, NO_QUANTITIES, INDEX_PRICES, NO_INTEREST, {TIME, 28}, {NIL, 0}}},
    {44, QUOTE, {HEAD, QUANTITIES, PRICES, NO_INTEREST, NO_TIME_NOR_DEPTH}},
    {184, FULL, {HEAD, QUANTITIES, PRICES, INTEREST, {TIME, 60}, {DEPTH, 64}}},
};

/* The kind of a packet, told by its length alone; NULL for a length that no packet has. */
static const struct kind *
kind_of(uint16_t packet_bytes)
{
    for (size_t n = 0; n < sizeof KINDS / sizeof KINDS[0]; n++)
        if (KINDS[n].packet_bytes == packet_bytes)
            return &KINDS[n];
    return NULL;
}

static uint32_t
divisor_of(uint32_t token)
{
    switch (token & 0xFF) {
    case 3: /* CDS */
        return 10000000;
    case 6:  /* BCD */
    case 12: /* NCO */
        return 10000;
    default:
        return 100;
    }
}

/* `put_unsigned` of what is 32 bits of a number with a sign. */
static uint8_t *
put_signed(uint8_t *out, uint32_t bits, int is_wide)
{
    if (is_wide) {
        *out++ = 0xD2;
        return write_u32(out, bits);
    }
    if (bits <= 0x7FFFFFFF)
        return put_unsigned(out, bits, 0);
    if (bits >= 0xFFFFFFE0) { /* -32 */
        *out++ = (uint8_t)bits;
        return out;
    }
    if (bits >= 0xFFFFFF80) { /* -128 */
        *out++ = 0xD0;
        *out++ = (uint8_t)bits;
        return out;
    }
    if (bits >= 0xFFFF8000) { /* -32,768 */
        *out++ = 0xD1;
        *out++ = (uint8_t)(bits >> 8);
        *out++ = (uint8_t)bits;
        return out;
    }
    *out++ = 0xD2;
    return write_u32(out, bits);
}

/* The body of a packet, of which `kind` says how long it is. */
static PyObject *
body_of(const struct kind *kind, const uint8_t *packet, uint32_t token, int is_wide)
{
    uint8_t body[BODY_BYTES_MAX];
    uint8_t *out = body;
    *out++ = 0xDC; /* an array of FIELDS */
    *out++ = 0;
    *out++ = FIELDS;
    for (int n = 0; n < FIELDS; n++) {
        const uint8_t *at = packet + kind->fields[n].at, what = kind->fields[n].what;
        if (is_wide && what <= SIGNED) { /* most of them: Kite's bytes are msgpack's */
            *out++ = WIDE[what];
            memcpy(out, at, 4);
            out += 4;
            continue;
        }
        switch ((enum what)what) {
        case NIL:
            *out++ = 0xC0;
            break;
        case UNSIGNED:
            out = put_unsigned(out, read_u32(at), is_wide);
            break;
        case SIGNED:
            out = put_signed(out, read_u32(at), is_wide);
            break;
        case TIME:
            if (read_u32(at))
                out = put_unsigned(out, read_u32(at), is_wide);
            else
                *out++ = 0xC0;
            break;
        case DEPTH:
            *out++ = 0xC4;
            *out++ = DEPTH_BYTES;
            memcpy(out, at, DEPTH_BYTES);
            out += DEPTH_BYTES;
            break;
        case MODE:
            *out++ = kind->mode;
            break;
        case DIVISOR:
            out = put_unsigned(out, divisor_of(token), is_wide);
            break;
        }
    }
    return PyBytes_FromStringAndSize((const char *)body, out - body);
}

/* How many whole packets as long as the first one follow one another in `left` bytes; 1 at least. */
static Py_ssize_t
run_length(const uint8_t *at, Py_ssize_t left, Py_ssize_t step, Py_ssize_t most)
{
    Py_ssize_t count = 1;
    if (most > RUN_MAX)
        most = RUN_MAX;
    if (most > left / step)
        most = left / step;
    while (count < most && memcmp(at + count * step, at, PREFIX_BYTES) == 0)
        count++;
    return count;
}

/* Appends the packets of one run, each `step` bytes with its length. */
static int
take(const struct kind *kind, const uint8_t *at, Py_ssize_t step, Py_ssize_t count,
     PyObject *tokens, PyObject *bodies)
{
    for (Py_ssize_t n = 0; n < count; n++, at += step) {
        const uint8_t *packet = at + PREFIX_BYTES;
        uint32_t token = read_u32(packet);
        if (append_new(tokens, PyLong_FromUnsignedLong(token)) < 0)
            return -1;
        if (append_new(bodies, body_of(kind, packet, token, count >= LONG_RUN)) < 0)
            return -1;
    }
    return 0;
}

/* Appends every packet that can be read. The first damage, if any, is told by its name and place;
   `damage` is NULL without one. -1 with an exception set when memory ran out. */
static int
read_packets(const uint8_t *frame, Py_ssize_t size, PyObject *tokens, PyObject *bodies,
             const char **damage, Py_ssize_t *damaged_at)
{
    *damage = NULL;
    *damaged_at = 0;
    if (size < PREFIX_BYTES) { /* a heartbeat is one byte */
        *damage = size == 0 ? "empty" : NULL;
        return 0;
    }
    Py_ssize_t offset = PREFIX_BYTES, remaining = read_u16(frame);
    while (remaining > 0) {
        Py_ssize_t left = size - offset, count = 1;
        if (left < PREFIX_BYTES || read_u16(frame + offset) > left - PREFIX_BYTES) {
            if (*damage == NULL) {
                *damage = "truncated";
                *damaged_at = offset;
            }
            return 0;
        }
        uint16_t packet_bytes = read_u16(frame + offset);
        Py_ssize_t step = PREFIX_BYTES + (Py_ssize_t)packet_bytes;
        const struct kind *kind = kind_of(packet_bytes);
        if (kind != NULL) {
            count = run_length(frame + offset, left, step, remaining);
            if (take(kind, frame + offset, step, count, tokens, bodies) < 0)
                return -1;
        }
        else if (*damage == NULL) {
            *damage = "packet_length";
            *damaged_at = offset;
        }
        offset += count * step; /* at most `size`: the run is whole */
        remaining -= count;
    }
    if (offset < size && *damage == NULL) {
        *damage = "trailing";
        *damaged_at = offset;
    }
    return 0;
}

/* repack(frame: bytes) -> (tokens, bodies, name of the first damage or None, its offset) */
PyObject *
repack(PyObject *module, PyObject *frame)
{
    (void)module;
    char *bytes;
    Py_ssize_t size, damaged_at;
    const char *damage;
    if (PyBytes_AsStringAndSize(frame, &bytes, &size) < 0)
        return NULL;
    PyObject *tokens = PyList_New(0), *bodies = PyList_New(0);
    if (tokens == NULL || bodies == NULL ||
        read_packets((const uint8_t *)bytes, size, tokens, bodies, &damage, &damaged_at) < 0) {
        Py_XDECREF(tokens);
        Py_XDECREF(bodies);
        return NULL;
    }
    return Py_BuildValue("(NNzn)", tokens, bodies, damage, damaged_at);
}
