/* A message of ticks, told apart: what it says of all of them, and where the topic, the number, the
   flags and the body of each are. Nothing of Python's is made here, and nothing raised: of what is
   not as the broadcaster writes it (protocol/feed.py) only the decoder knows whether it is right. */

#include "messages.h"

#define VERSION 1
#define FIELDS 19
#define DEPTH_BYTES 120

enum {
    NIL = 0xC0, BIN_8 = 0xC4,
    UINT_8 = 0xCC, UINT_16, UINT_32, UINT_64, INT_8, INT_16, INT_32, INT_64,
    ARRAY_16 = 0xDC,
};

/* --- msgpack: each takes one thing off the front, or says no ------------------------------------- */

static int
take_bytes(Cursor *cursor, Py_ssize_t count, const uint8_t **at)
{
    if (count > cursor->left)
        return 0;
    *at = cursor->at;
    cursor->at += count;
    cursor->left -= count;
    return 1;
}

/* The bytes of what begins with this mark: of integers, and 0 for all else. */
#define ONES 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
static const uint8_t WIDTHS[256] = {
    ONES, ONES, ONES, ONES, ONES, ONES, ONES, ONES,
    [UINT_8] = 2, 3, 5, 9, [INT_8] = 2, 3, 5, 9, [0xE0] = ONES, ONES,
};

static int
take_integer(Cursor *cursor, long long *number)
{
    const uint8_t *at;
    if (cursor->left == 0 || WIDTHS[*cursor->at] == 0 || !take_bytes(cursor, WIDTHS[*cursor->at], &at))
        return 0;
    switch (*at) {
    case UINT_8:
        *number = at[1];
        return 1;
    case UINT_16:
        *number = read_u16(at + 1);
        return 1;
    case UINT_32:
        *number = read_u32(at + 1);
        return 1;
    case INT_8:
        *number = (int8_t)at[1];
        return 1;
    case INT_16:
        *number = (int16_t)read_u16(at + 1);
        return 1;
    case INT_32:
        *number = (int32_t)read_u32(at + 1);
        return 1;
    case UINT_64:
    case INT_64: {
        uint64_t bits = (uint64_t)read_u32(at + 1) << 32 | read_u32(at + 5);
        *number = (long long)bits;
        return *at == INT_64 || bits <= INT64_MAX;
    }
    default:
        *number = (int8_t)*at;
        return 1;
    }
}

/* The beginning of an array. */
static int
take_array(Cursor *cursor, Py_ssize_t *count)
{
    const uint8_t *at;
    if (!take_bytes(cursor, 1, &at))
        return 0;
    if (*at >= 0x90 && *at <= 0x9F) {
        *count = *at & 0x0F;
        return 1;
    }
    if (*at != ARRAY_16 || !take_bytes(cursor, 2, &at))
        return 0;
    *count = read_u16(at);
    return 1;
}

static int
is_array_of(Cursor *cursor, Py_ssize_t count)
{
    Py_ssize_t found;
    return take_array(cursor, &found) && found == count;
}

static int
take_binary(Cursor *cursor, const uint8_t **at, Py_ssize_t *size)
{
    const uint8_t *head;
    if (cursor->left < 2 || *cursor->at != BIN_8 || !take_bytes(cursor, 2, &head))
        return 0;
    *size = head[1];
    return take_bytes(cursor, *size, at);
}

/* --- a body -------------------------------------------------------------------------------------- */

/* What stands in a field of a plain body (protocol/tick_bodies.py), two bits for each. */
enum { OTHER, NONE, UNSIGNED, SIGNED };
#define BINARY UNSIGNED /* of the depth */

enum { MODE = 1, DIVISOR = 2, LAST_PRICE = 3, DEPTH = 18 };

#define AT(field, what) ((uint64_t)(what) << 2 * (field))
#define NONE_AT(first, count) ((((uint64_t)1 << 2 * (count)) - 1) / 3 * NONE << 2 * (first))
#define ALWAYS (AT(0, UNSIGNED) | AT(DIVISOR, UNSIGNED) | AT(LAST_PRICE, SIGNED))
#define QUANTITIES (AT(4, UNSIGNED) | AT(5, SIGNED) | AT(6, UNSIGNED) | AT(7, UNSIGNED) | AT(8, UNSIGNED))
#define PRICES (AT(9, SIGNED) | AT(10, SIGNED) | AT(11, SIGNED) | AT(12, SIGNED))
#define INTEREST (AT(14, UNSIGNED) | AT(15, UNSIGNED) | AT(16, UNSIGNED))
#define TRADED (ALWAYS | QUANTITIES | PRICES)
#define INDEX (ALWAYS | NONE_AT(4, 5) | PRICES)
#define FULL(traded, sent) (TRADED | AT(13, traded) | INTEREST | AT(17, sent) | AT(DEPTH, BINARY))

static const struct {
    uint8_t mode;
    uint64_t fields;
} PLAIN[] = {
    {3, FULL(UNSIGNED, UNSIGNED)}, /* a time of zero is nil */
    {3, FULL(NONE, UNSIGNED)},
    {3, FULL(UNSIGNED, NONE)},
    {3, FULL(NONE, NONE)},
    {2, TRADED | NONE_AT(13, 6)},
    {1, ALWAYS | NONE_AT(4, 15)},
    {2, INDEX | NONE_AT(13, 6)},
    {3, INDEX | NONE_AT(13, 4) | AT(17, UNSIGNED) | NONE_AT(DEPTH, 1)},
    {3, INDEX | NONE_AT(13, 6)},
};

static int
is_plain(uint8_t mode, uint64_t fields)
{
    for (size_t n = 0; n < sizeof PLAIN / sizeof PLAIN[0]; n++)
        if (PLAIN[n].mode == mode && PLAIN[n].fields == fields)
            return 1;
    return 0;
}

/* By mark: what it says of a field. */
static const uint8_t WHAT[256] = {[NIL] = NONE, [UINT_32] = UNSIGNED, [INT_32] = SIGNED};

/* The next field, an integer, or nil where that may be; NULL for any other. */
static inline const uint8_t *
after_field(const uint8_t *at, const uint8_t *end, int may_be_nil)
{
    if (at >= end)
        return NULL;
    Py_ssize_t width = *at == NIL && may_be_nil ? 1 : WIDTHS[*at];
    return width == 0 || width > end - at ? NULL : at + width;
}

/* One that decodes: 19 fields, each of a type that it may have. Any other may decode, too. */
static int
take_body(Cursor *cursor, Body *body)
{
    const uint8_t *begin = cursor->at, *end = cursor->at + cursor->left, *depth;
    if (!is_array_of(cursor, FIELDS))
        return 0;
    const uint8_t *at = cursor->at, *next;
    uint64_t fields = 0;
    uint8_t mode = 0;
    for (int field = 0; field <= LAST_PRICE; field++, at = next) {
        next = after_field(at, end, 0);
        if (next == NULL)
            return 0;
        if (field == MODE) {
            mode = *at;
            continue;
        }
        fields |= AT(field, WHAT[*at]);
        if (field == DIVISOR) {
            Cursor there = {at, end - at};
            long long divisor;
            if (!take_integer(&there, &divisor) || divisor <= 0)
                return 0;
        }
    }
    for (int field = LAST_PRICE + 1; field < DEPTH; field++, at = next) {
        next = after_field(at, end, 1);
        if (next == NULL)
            return 0;
        fields |= AT(field, WHAT[*at]);
    }
    *cursor = (Cursor){at, end - at};
    if (at < end && *at == NIL) {
        take_bytes(cursor, 1, &at);
        fields |= AT(DEPTH, NONE);
    }
    else {
        Py_ssize_t size;
        if (!take_binary(cursor, &depth, &size) || size != DEPTH_BYTES)
            return 0;
        fields |= AT(DEPTH, BINARY);
    }
    *body = (Body){begin, cursor->at - begin, is_plain(mode, fields)};
    return 1;
}

/* --- a message ----------------------------------------------------------------------------------- */

int
take_head(Cursor *cursor, Head *head)
{
    long long version;
    return is_array_of(cursor, 10) && take_integer(cursor, &version) && version == VERSION &&
           take_integer(cursor, &head->gen) && take_integer(cursor, &head->shard) &&
           take_integer(cursor, &head->epoch) && take_integer(cursor, &head->seq) &&
           take_integer(cursor, &head->source) && take_integer(cursor, &head->flags) &&
           take_integer(cursor, &head->t_rx_ns) && take_integer(cursor, &head->t_pub_ns);
}

int
take_last_body(Cursor *cursor, Body *body)
{
    return take_body(cursor, body) && cursor->left == 0;
}

/* `TickChunk`: how many ticks, whose four columns follow. */
int
take_chunk(Cursor *cursor, Py_ssize_t *count)
{
    return is_array_of(cursor, 4) && take_array(cursor, count) && *count <= cursor->left;
}

int
take_columns(Cursor *cursor, Arriving *ticks, Py_ssize_t count)
{
    for (Py_ssize_t n = 0; n < count; n++)
        if (!take_binary(cursor, &ticks[n].name, &ticks[n].name_size))
            return 0;
    if (!is_array_of(cursor, count))
        return 0;
    for (Py_ssize_t n = 0; n < count; n++)
        if (!take_integer(cursor, &ticks[n].seq))
            return 0;
    if (!is_array_of(cursor, count))
        return 0;
    for (Py_ssize_t n = 0; n < count; n++)
        if (!take_body(cursor, &ticks[n].body))
            return 0;
    Py_ssize_t flags;
    if (!take_array(cursor, &flags) || (flags != 0 && flags != count))
        return 0;
    for (Py_ssize_t n = 0; n < flags; n++)
        if (!take_integer(cursor, &ticks[n].flags))
            return 0;
    return cursor->left == 0;
}
