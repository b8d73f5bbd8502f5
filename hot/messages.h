/* A message of ticks as its bytes lie there: see hot/messages.c. */

#ifndef KITEFEED_MESSAGES_H
#define KITEFEED_MESSAGES_H

#include "loops.h"

/* What is left of the bytes that are read. */
typedef struct {
    const uint8_t *at;
    Py_ssize_t left;
} Cursor;

/* `FeedMessage` without its version and its body. */
typedef struct {
    long long gen, shard, epoch, seq, source, flags, t_rx_ns, t_pub_ns;
} Head;

/* An encoded body that decodes. `is_plain`: see protocol/tick_bodies.py. */
typedef struct {
    const uint8_t *at;
    Py_ssize_t size;
    int is_plain;
} Body;

/* One tick of a message. The objects are NULL until they are made. */
typedef struct {
    const uint8_t *name;
    Py_ssize_t name_size;
    long long seq, flags;
    Body body;
    struct topic *topic;
    PyObject *number, *flag_set, *encoded, *tick;
} Arriving;

/* Of these each says whether it found what it looks for, and takes it off the front. */
int take_head(Cursor *cursor, Head *head);
int take_last_body(Cursor *cursor, Body *body); /* with nothing behind it */
int take_chunk(Cursor *cursor, Py_ssize_t *count);
int take_columns(Cursor *cursor, Arriving *ticks, Py_ssize_t count); /* with nothing behind them */

#endif
