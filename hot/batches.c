/* The ticks of a batch: each is kept, numbered, and written for those who listen. The twin of
   `keep_in_python` in actors/broadcaster/ticks.py, byte for byte. */

#include "objects.h"

#define SEQ_BYTES 4
#define ARRAY_16_MAX 0xFFFF

/* --- bytes that are written --------------------------------------------------------------------- */

typedef struct {
    const char *bytes;
    Py_ssize_t size;
} Part;

static int
part_of(PyObject *object, Part *part)
{
    char *bytes;
    if (object == NULL || PyBytes_AsStringAndSize(object, &bytes, &part->size) < 0)
        return -1;
    part->bytes = bytes;
    return 0;
}

/* A bytes object that is being filled. `left` is what it has room for. */
typedef struct {
    PyObject *object;
    char *out;
    Py_ssize_t left;
} Writer;

static int
start(Writer *writer, Py_ssize_t size)
{
    writer->object = PyBytes_FromStringAndSize(NULL, size);
    if (writer->object == NULL)
        return -1;
    writer->out = PyBytes_AsString(writer->object);
    writer->left = size;
    return 0;
}

static inline int
put(Writer *writer, const void *bytes, Py_ssize_t size)
{
    if (size > writer->left) {
        PyErr_SetString(PyExc_SystemError, "more bytes than were counted");
        return -1;
    }
    memcpy(writer->out, bytes, (size_t)size);
    writer->out += size;
    writer->left -= size;
    return 0;
}

/* The whole, when all that was counted was written. */
static PyObject *
finish(Writer *writer, int result)
{
    if (result == 0 && writer->left != 0) {
        PyErr_SetString(PyExc_SystemError, "fewer bytes than were counted");
        result = -1;
    }
    if (result < 0)
        Py_CLEAR(writer->object);
    return writer->object;
}

/* The beginning of an array or a binary of `size` as msgpack has it: its bytes, at most 5. */
static Py_ssize_t
head_of(uint8_t *out, size_t size, int is_array)
{
    uint8_t *at = out;
    if (is_array && size < 16)
        *at++ = (uint8_t)(0x90 | size);
    else if (!is_array && size <= 0xFF) {
        *at++ = 0xC4;
        *at++ = (uint8_t)size;
    }
    else if (size <= 0xFFFF) {
        *at++ = is_array ? 0xDC : 0xC5;
        *at++ = (uint8_t)(size >> 8);
        *at++ = (uint8_t)size;
    }
    else {
        *at++ = is_array ? 0xDD : 0xC6;
        at = write_u32(at, (uint32_t)size);
    }
    return at - out;
}

/* A number above any that a seq has is written as well. */
static Py_ssize_t
number_of(uint8_t *out, uint64_t number)
{
    if (number <= UINT32_MAX)
        return put_unsigned(out, (uint32_t)number, 0) - out;
    *out = 0xCF;
    write_u32(write_u32(out + 1, (uint32_t)(number >> 32)), (uint32_t)number);
    return 9;
}

/* --- a batch ------------------------------------------------------------------------------------ */

typedef struct {
    long long seq;
    Part topic, body; /* NULL for what is no bytes: an error for who reads it */
} Tick;

typedef struct {
    PyObject *values, *topics, *bodies, *flags; /* lists; `flags` may be empty */
    PyObject *origin, *wanted, *prefixes;
    Part before, after, after_flags;
    Py_ssize_t count;
    Tick *ticks; /* `count` of them */
} Batch;

/* The flags of a tick; -1 with an exception set. */
static long
flags_of(const Batch *batch, Py_ssize_t n)
{
    if (PyList_Size(batch->flags) == 0)
        return 0;
    PyObject *given = PyList_GetItem(batch->flags, n);
    if (given == NULL)
        return -1;
    long flags = PyLong_AsLong(given);
    if (flags < 0 || flags > 0x7F) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_OverflowError, "flags that no source gives");
        return -1;
    }
    return flags;
}

/* Keeps and numbers all of them. */
static int
keep_all(Batch *batch, PyTypeObject *type)
{
    PyObject *none = PyLong_FromLong(0);
    int result = none == NULL ? -1 : 0;
    for (Py_ssize_t n = 0; result == 0 && n < batch->count; n++) {
        PyObject *object = PyList_GetItem(batch->values, n);
        PyObject *body = PyList_GetItem(batch->bodies, n);
        PyObject *flags = PyList_Size(batch->flags) ? PyList_GetItem(batch->flags, n) : none;
        if (object == NULL || body == NULL || flags == NULL)
            result = -1;
        else if (!PyObject_TypeCheck(object, type)) {
            PyErr_SetString(PyExc_TypeError, "a value of another type");
            result = -1;
        }
        else if (((Value *)object)->seq == LLONG_MAX) {
            PyErr_SetString(PyExc_OverflowError, "no number comes after the last");
            result = -1;
        }
        else {
            Value *value = (Value *)Py_NewRef(object);
            batch->ticks[n].seq = ++value->seq;
            replace(&value->body, body);
            replace(&value->origin, batch->origin);
            replace(&value->flags, flags);
            Py_DECREF(value);
        }
    }
    Py_XDECREF(none);
    return result;
}

static void
look_up(PyObject *list, Py_ssize_t n, Part *part)
{
    PyObject *object = PyList_GetItem(list, n);
    if (object == NULL || part_of(object, part) < 0) {
        PyErr_Clear();
        *part = (Part){NULL, 0};
    }
}

/* Where the bytes of topics and bodies are. From here on nothing is released that they belong to. */
static void
look_up_all(Batch *batch, int is_chunk)
{
    for (Py_ssize_t n = 0; n < batch->count; n++) {
        if (is_chunk) /* nobody else reads them */
            look_up(batch->topics, n, &batch->ticks[n].topic);
        look_up(batch->bodies, n, &batch->ticks[n].body);
    }
}

static int
is_bytes(const Part *part)
{
    if (part->bytes == NULL)
        PyErr_SetString(PyExc_TypeError, "topics and bodies are bytes");
    return part->bytes != NULL;
}

/* Whether somebody reads this tick by itself; -1 with an exception set. */
static int
is_wanted(const Batch *batch, Py_ssize_t n, const Part *head)
{
    if (batch->wanted == Py_None)
        return 1;
    PyObject *topic = PyList_GetItem(batch->topics, n);
    if (topic == NULL)
        return -1;
    if (PyDict_GetItemWithError(batch->wanted, topic) != NULL)
        return 1;
    if (PyErr_Occurred())
        return -1;
    Py_ssize_t prefixes = PyTuple_Size(batch->prefixes);
    for (Py_ssize_t p = 0; p < prefixes; p++) {
        Part prefix;
        if (part_of(PyTuple_GetItem(batch->prefixes, p), &prefix) < 0)
            return -1;
        if (prefix.size <= head->size && memcmp(prefix.bytes, head->bytes, (size_t)prefix.size) == 0)
            return 1;
    }
    return 0;
}

/* The message of one tick. */
static PyObject *
message_of(const Batch *batch, Py_ssize_t n, const Part *head)
{
    if (batch->ticks[n].seq < 0 || batch->ticks[n].seq > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "int too big to convert");
        return NULL;
    }
    const Part body = batch->ticks[n].body;
    long flags = flags_of(batch, n);
    if (flags < 0 || !is_bytes(&body))
        return NULL;
    uint8_t seq[SEQ_BYTES];
    write_u32(seq, (uint32_t)batch->ticks[n].seq);
    const Part *after = flags ? &batch->after_flags : &batch->after;
    Writer writer;
    if (start(&writer, head->size + batch->before.size + SEQ_BYTES + after->size + body.size) < 0)
        return NULL;
    int result = put(&writer, head->bytes, head->size);
    if (result == 0)
        result = put(&writer, batch->before.bytes, batch->before.size);
    if (result == 0)
        result = put(&writer, seq, SEQ_BYTES);
    if (result == 0)
        result = put(&writer, after->bytes, after->size);
    if (result == 0)
        result = put(&writer, body.bytes, body.size);
    return finish(&writer, result);
}

/* Appends the messages of those that somebody reads one by one. */
static int
write_each(const Batch *batch, PyObject *messages)
{
    int is_nobody = batch->wanted != Py_None && PyDict_Size(batch->wanted) == 0 &&
                    PyTuple_Size(batch->prefixes) == 0;
    for (Py_ssize_t n = 0; !is_nobody && n < batch->count; n++) {
        Part head;
        Value *value = (Value *)PyList_GetItem(batch->values, n); /* of that type: `keep_all` */
        if (value == NULL || part_of(value->head, &head) < 0)
            return -1;
        int wanted = is_wanted(batch, n, &head);
        if (wanted < 0 || (wanted && append_new(messages, message_of(batch, n, &head)) < 0))
            return -1;
    }
    return 0;
}

/* The three columns before the flags: written where there is a writer, and counted in any case. */
static Py_ssize_t
columns(const Batch *batch, Writer *writer)
{
    uint8_t bytes[16];
    size_t count = (size_t)batch->count;
    Py_ssize_t used = head_of(bytes, count, 1), total = used;
    if (writer != NULL && put(writer, bytes, used) < 0)
        return -1;
    for (Py_ssize_t n = 0; n < batch->count; n++) {
        const Part topic = batch->ticks[n].topic;
        if (!is_bytes(&topic))
            return -1;
        used = head_of(bytes, (size_t)topic.size, 0);
        total += used + topic.size;
        if (writer != NULL &&
            (put(writer, bytes, used) < 0 || put(writer, topic.bytes, topic.size) < 0))
            return -1;
    }
    used = head_of(bytes, count, 1);
    total += used;
    if (writer != NULL && put(writer, bytes, used) < 0)
        return -1;
    for (Py_ssize_t n = 0; n < batch->count; n++) {
        used = number_of(bytes, (uint64_t)batch->ticks[n].seq);
        total += used;
        if (writer != NULL && put(writer, bytes, used) < 0)
            return -1;
    }
    bytes[0] = 0xDC;
    bytes[1] = (uint8_t)(count >> 8);
    bytes[2] = (uint8_t)count;
    total += 3;
    if (writer != NULL && put(writer, bytes, 3) < 0)
        return -1;
    for (Py_ssize_t n = 0; n < batch->count; n++) {
        const Part body = batch->ticks[n].body;
        if (!is_bytes(&body))
            return -1;
        total += body.size;
        if (writer != NULL && put(writer, body.bytes, body.size) < 0)
            return -1;
    }
    return total;
}

/* The message of `ticks/all`. `head`: all of it before the body. */
static PyObject *
chunk_of(const Batch *batch, const Part *head)
{
    if (batch->count > ARRAY_16_MAX) {
        PyErr_SetString(PyExc_OverflowError, "int too big to convert");
        return NULL;
    }
    uint8_t bytes[5];
    Py_ssize_t flags = PyList_Size(batch->flags), size = columns(batch, NULL);
    if (size < 0)
        return NULL;
    Writer writer;
    Py_ssize_t used = head_of(bytes, (size_t)flags, 1);
    if (start(&writer, head->size + 1 + size + used + flags) < 0)
        return NULL;
    int result = put(&writer, head->bytes, head->size);
    if (result == 0)
        result = put(&writer, "\x94", 1);
    if (result == 0)
        result = columns(batch, &writer) < 0 ? -1 : 0;
    if (result == 0)
        result = put(&writer, bytes, used);
    for (Py_ssize_t n = 0; result == 0 && n < flags; n++) {
        long given = flags_of(batch, n);
        uint8_t byte = (uint8_t)given;
        result = given < 0 ? -1 : put(&writer, &byte, 1);
    }
    return finish(&writer, result);
}

static PyObject *
kept_and_written(Batch *batch, PyTypeObject *type, PyObject *chunk_head)
{
    PyObject *messages = PyList_New(0);
    if (messages == NULL)
        return NULL;
    int result = keep_all(batch, type);
    if (result == 0) {
        look_up_all(batch, chunk_head != Py_None);
        result = write_each(batch, messages);
    }
    if (result == 0 && chunk_head != Py_None) {
        Part head;
        result = part_of(chunk_head, &head);
        if (result == 0)
            result = append_new(messages, chunk_of(batch, &head));
    }
    if (result < 0)
        Py_CLEAR(messages);
    return messages;
}

/* keep(values, topics, bodies, flags, origin, before, after, after_flags, wanted, prefixes,
   chunk_head) -> messages. `flags`: empty, or one for each; `wanted`: a dict of topics, None for
   all; `chunk_head`: what stands before the body of `ticks/all`, None where nobody reads that. */
PyObject *
keep(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 11) {
        PyErr_SetString(PyExc_TypeError, "keep takes 11 arguments");
        return NULL;
    }
    Batch batch = {
        .values = args[0], .topics = args[1], .bodies = args[2], .flags = args[3],
        .origin = args[4], .wanted = args[8], .prefixes = args[9],
    };
    for (int n = 0; n < 4; n++)
        if (!PyList_Check(args[n])) {
            PyErr_SetString(PyExc_TypeError, "columns are lists");
            return NULL;
        }
    if (batch.wanted != Py_None && !PyDict_Check(batch.wanted)) {
        PyErr_SetString(PyExc_TypeError, "wanted is a dict or None");
        return NULL;
    }
    if (!PyTuple_Check(batch.prefixes)) {
        PyErr_SetString(PyExc_TypeError, "prefixes are a tuple");
        return NULL;
    }
    if (part_of(args[5], &batch.before) < 0 || part_of(args[6], &batch.after) < 0 ||
        part_of(args[7], &batch.after_flags) < 0)
        return NULL;
    batch.count = PyList_Size(batch.values);
    Py_ssize_t flags = PyList_Size(batch.flags);
    if (PyList_Size(batch.topics) != batch.count || PyList_Size(batch.bodies) != batch.count ||
        (flags != 0 && flags != batch.count)) {
        PyErr_SetString(PyExc_ValueError, "columns of several lengths");
        return NULL;
    }
    if ((size_t)batch.count >= (size_t)PY_SSIZE_T_MAX / sizeof *batch.ticks)
        return PyErr_NoMemory();
    batch.ticks = PyMem_Malloc((size_t)(batch.count + 1) * sizeof *batch.ticks);
    if (batch.ticks == NULL)
        return PyErr_NoMemory();
    struct state *state = PyModule_GetState(module);
    PyObject *messages = kept_and_written(&batch, (PyTypeObject *)state->value_type, args[10]);
    PyMem_Free(batch.ticks);
    return messages;
}
