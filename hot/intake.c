/* Messages to ticks, for the ordinary message: what it brings is the next of each of its topics. The
   twin of `View._apply_tick` and `View._apply_chunk` in client/view.py, which take every other one.

   All of a message is looked at and made before any of it is kept: one that is left to Python has
   changed nothing. */

#include "messages.h"
#include "objects.h"

#define CACHED 4

/* --- what takes messages in ---------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *topic_type;
    PyObject *topics; /* a dict by name */
    PyObject *append, *extend; /* of what the ticks are given to */
    PyObject *tick, *raw; /* what makes them, and what holds a body that is not plain */
    PyObject *admit;
    /* The arrival of the last message, and all that it stands for. */
    PyObject *arrival;
    Head head;
    long long now_ns, losses;
} Intake;

static int
intake_visit(PyObject *object, visitproc visit, void *arg)
{
    Intake *self = (Intake *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->topic_type);
    Py_VISIT(self->topics);
    Py_VISIT(self->append);
    Py_VISIT(self->extend);
    Py_VISIT(self->tick);
    Py_VISIT(self->raw);
    Py_VISIT(self->admit);
    Py_VISIT(self->arrival);
    return 0;
}

static int
intake_clear(PyObject *object)
{
    Intake *self = (Intake *)object;
    Py_CLEAR(self->topic_type);
    Py_CLEAR(self->topics);
    Py_CLEAR(self->append);
    Py_CLEAR(self->extend);
    Py_CLEAR(self->tick);
    Py_CLEAR(self->raw);
    Py_CLEAR(self->admit);
    Py_CLEAR(self->arrival);
    return 0;
}

static void
intake_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    intake_clear(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

/* Intake(topics, arrived, tick, raw, admit) */
static PyObject *
intake_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *topics, *arrived, *tick, *raw, *admit;
    if (kwargs != NULL && PyDict_Size(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Intake takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!OOOO:Intake", &PyDict_Type, &topics, &arrived, &tick, &raw,
                          &admit))
        return NULL;
    PyObject *module = PyType_GetModule(type);
    if (module == NULL)
        return NULL;
    struct state *state = PyModule_GetState(module);
    Intake *self = (Intake *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    self->topic_type = Py_NewRef(state->topic_type);
    self->topics = Py_NewRef(topics);
    self->tick = Py_NewRef(tick);
    self->raw = Py_NewRef(raw);
    self->admit = Py_NewRef(admit);
    self->append = PyObject_GetAttrString(arrived, "append");
    self->extend = PyObject_GetAttrString(arrived, "extend");
    if (self->append == NULL || self->extend == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* --- one message --------------------------------------------------------------------------------- */

/* What a message is read with: `view`, `now` and `utc` are for `admit`. */
typedef struct {
    PyObject *view, *now, *utc;
    long long now_ns, gen, losses;
} Moment;

/* What comes of looking at a message. With ERROR an exception is set. */
enum outcome { ERROR = -1, ORDINARY, LEFT };

/* A number of Python's; LEFT for any that is too large, or none. */
static enum outcome
number_of(PyObject *object, long long *number)
{
    if (object == NULL || !PyLong_Check(object))
        return LEFT;
    *number = PyLong_AsLongLong(object);
    if (*number != -1 || !PyErr_Occurred())
        return ORDINARY;
    if (!PyErr_ExceptionMatches(PyExc_OverflowError))
        return ERROR;
    PyErr_Clear();
    return LEFT;
}

/* Finds the topic of this name, and holds it. */
static enum outcome
find(const Intake *self, const uint8_t *name, Py_ssize_t size, Topic **topic)
{
    PyObject *key = PyBytes_FromStringAndSize((const char *)name, size);
    if (key == NULL)
        return ERROR;
    PyObject *found = PyDict_GetItemWithError(self->topics, key);
    Py_DECREF(key);
    if (found == NULL)
        return PyErr_Occurred() ? ERROR : LEFT;
    if (!PyObject_TypeCheck(found, (PyTypeObject *)self->topic_type))
        return LEFT;
    *topic = (Topic *)Py_NewRef(found);
    return ORDINARY;
}

static int
starts_with(const uint8_t *bytes, Py_ssize_t size, const char *prefix, Py_ssize_t prefix_size)
{
    return size >= prefix_size && memcmp(bytes, prefix, (size_t)prefix_size) == 0;
}

/* Whether it is the next of a topic that is known. One that nobody wants is not looked at. */
static enum outcome
look_at(const Intake *self, Arriving *tick)
{
    if (!starts_with(tick->name, tick->name_size, "tick/", 5) &&
        !starts_with(tick->name, tick->name_size, "last/", 5))
        return LEFT;
    enum outcome outcome = find(self, tick->name, tick->name_size, &tick->topic);
    if (outcome != ORDINARY || tick->topic->is_wanted != Py_True)
        return outcome;
    if (tick->topic->next < 0) {
        outcome = number_of(tick->topic->seq, &tick->topic->next);
        if (outcome != ORDINARY || tick->topic->next < 0)
            return outcome == ORDINARY ? LEFT : outcome;
    }
    if (tick->seq <= 0 || tick->seq - 1 != tick->topic->next || tick->flags & CACHED)
        return LEFT;
    tick->topic->next = tick->seq;
    return ORDINARY;
}

static enum outcome
look_at_all(const Intake *self, Arriving *ticks, Py_ssize_t count)
{
    enum outcome outcome = ORDINARY;
    Py_ssize_t n;
    for (n = 0; outcome == ORDINARY && n < count; n++)
        outcome = look_at(self, &ticks[n]);
    for (n = 0; n < count && ticks[n].topic != NULL; n++)
        ticks[n].topic->next = -1;
    return outcome;
}

/* The arrival of a message: the last one's, if it says the same and is read at the same time. */
static PyObject *
arrival_of(Intake *self, const Head *head, const Moment *moment)
{
    const Head *last = &self->head;
    if (self->arrival != NULL && self->now_ns == moment->now_ns && self->losses == moment->losses &&
        last->t_pub_ns == head->t_pub_ns && last->t_rx_ns == head->t_rx_ns &&
        last->gen == head->gen && last->epoch == head->epoch && last->shard == head->shard &&
        last->source == head->source)
        return Py_NewRef(self->arrival);
    PyObject *admitted =
        PyObject_CallFunction(self->admit, "OLLLLLLOO", moment->view, head->gen, head->shard,
                              head->epoch, head->source, head->t_rx_ns, head->t_pub_ns, moment->now,
                              moment->utc);
    if (admitted == NULL)
        return NULL;
    PyObject *arrival = NULL;
    int is_shared;
    if (PyTuple_Check(admitted) && PyArg_ParseTuple(admitted, "Op", &arrival, &is_shared)) {
        PyObject *old = self->arrival;
        self->arrival = is_shared ? Py_NewRef(arrival) : NULL;
        self->head = *head;
        self->now_ns = moment->now_ns;
        self->losses = moment->losses;
        Py_INCREF(arrival);
        Py_XDECREF(old);
    }
    else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "admit gives a tuple");
    Py_DECREF(admitted);
    return arrival;
}

static int
make(const Intake *self, Arriving *tick, PyObject *arrival)
{
    tick->number = PyLong_FromLongLong(tick->seq);
    tick->flag_set = PyLong_FromLongLong(tick->flags);
    tick->encoded = PyBytes_FromStringAndSize((const char *)tick->body.at, tick->body.size);
    if (tick->number == NULL || tick->flag_set == NULL || tick->encoded == NULL)
        return -1;
    PyObject *held = tick->body.is_plain ? Py_NewRef(tick->encoded)
                                         : PyObject_CallFunctionObjArgs(self->raw, tick->encoded, NULL);
    if (held == NULL)
        return -1;
    tick->tick = PyObject_CallFunctionObjArgs(self->tick, tick->topic->key, held, tick->number,
                                              tick->flag_set, arrival, NULL);
    Py_DECREF(held);
    return tick->tick == NULL ? -1 : 0;
}

/* Gives them out: all of them, or none with an exception set. */
static int
give(const Intake *self, const Arriving *ticks, Py_ssize_t count, Py_ssize_t wanted)
{
    PyObject *done = NULL;
    if (count == 1)
        done = PyObject_CallFunctionObjArgs(self->append, ticks[0].tick, NULL);
    else {
        PyObject *list = PyList_New(wanted);
        if (list == NULL)
            return -1;
        Py_ssize_t place = 0;
        for (Py_ssize_t n = 0; n < count; n++)
            if (ticks[n].tick != NULL)
                PyList_SetItem(list, place++, Py_NewRef(ticks[n].tick));
        done = PyObject_CallFunctionObjArgs(self->extend, list, NULL);
        Py_DECREF(list);
    }
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Makes ticks of those that are wanted, gives them out, and keeps them as the last of their topics. */
static int
take_all(const Intake *self, Arriving *ticks, Py_ssize_t count, PyObject *arrival, Py_ssize_t *wanted)
{
    *wanted = 0;
    for (Py_ssize_t n = 0; n < count; n++)
        if (ticks[n].topic->is_wanted == Py_True) {
            if (make(self, &ticks[n], arrival) < 0)
                return -1;
            ++*wanted;
        }
    if (*wanted == 0)
        return 0;
    if (give(self, ticks, count, *wanted) < 0)
        return -1;
    for (Py_ssize_t n = 0; n < count; n++)
        if (ticks[n].tick != NULL) {
            Topic *topic = ticks[n].topic;
            replace(&topic->seq, ticks[n].number);
            replace(&topic->value_seq, ticks[n].number);
            replace(&topic->flags, ticks[n].flag_set);
            replace(&topic->body, ticks[n].encoded);
            replace(&topic->arrival, arrival);
        }
    return 0;
}

static void
release_all(Arriving *ticks, Py_ssize_t count)
{
    for (Py_ssize_t n = 0; n < count; n++) {
        Py_XDECREF((PyObject *)ticks[n].topic);
        Py_XDECREF(ticks[n].number);
        Py_XDECREF(ticks[n].flag_set);
        Py_XDECREF(ticks[n].encoded);
        Py_XDECREF(ticks[n].tick);
    }
}

/* A message of one tick. It counts, whether it is wanted or not. */
static enum outcome
take_one(Intake *self, Cursor *cursor, Arriving *tick, const Moment *moment, Py_ssize_t *taken)
{
    Head head;
    Py_ssize_t wanted;
    if (!take_head(cursor, &head) || head.gen != moment->gen || !take_last_body(cursor, &tick->body))
        return LEFT;
    tick->seq = head.seq;
    tick->flags = head.flags;
    enum outcome outcome = look_at_all(self, tick, 1);
    if (outcome != ORDINARY)
        return outcome;
    PyObject *arrival = arrival_of(self, &head, moment);
    if (arrival == NULL)
        return ERROR;
    int result = take_all(self, tick, 1, arrival, &wanted);
    Py_DECREF(arrival);
    *taken = 1;
    return result < 0 ? ERROR : ORDINARY;
}

/* Whether this is the next message of `ticks/all`, or the first. */
static enum outcome
look_at_chunks(const Topic *chunks, long long seq)
{
    long long last;
    enum outcome outcome = number_of(chunks->seq, &last);
    if (outcome == ORDINARY && last != 0 && (last < 0 || seq - 1 > last))
        return LEFT;
    return outcome;
}

/* The ticks of one of `ticks/all`, whose columns are read into `ticks`. */
static enum outcome
take_chunked(Intake *self, const Head *head, Topic *chunks, Arriving *ticks, Py_ssize_t count,
             const Moment *moment, Py_ssize_t *taken)
{
    enum outcome outcome = look_at_all(self, ticks, count);
    if (outcome == ORDINARY)
        outcome = look_at_chunks(chunks, head->seq);
    if (outcome != ORDINARY)
        return outcome;
    PyObject *number = PyLong_FromLongLong(head->seq);
    if (number == NULL)
        return ERROR;
    PyObject *arrival = arrival_of(self, head, moment);
    int result = -1;
    if (arrival != NULL && take_all(self, ticks, count, arrival, taken) == 0) {
        replace(&chunks->seq, number);
        result = 0;
    }
    Py_XDECREF(arrival);
    Py_DECREF(number);
    return result < 0 ? ERROR : ORDINARY;
}

static enum outcome
take_many(Intake *self, Cursor *cursor, Topic *chunks, const Moment *moment, Py_ssize_t *taken)
{
    Head head;
    Py_ssize_t count;
    if (!take_head(cursor, &head) || head.gen != moment->gen || !take_chunk(cursor, &count))
        return LEFT;
    Arriving *ticks = PyMem_Calloc((size_t)count + 1, sizeof *ticks); /* count is 16 bits */
    if (ticks == NULL) {
        PyErr_NoMemory();
        return ERROR;
    }
    enum outcome outcome = LEFT;
    if (take_columns(cursor, ticks, count))
        outcome = take_chunked(self, &head, chunks, ticks, count, moment, taken);
    release_all(ticks, count);
    PyMem_Free(ticks);
    return outcome;
}

static enum outcome
take_message(Intake *self, PyObject *frame, const Moment *moment, Py_ssize_t *taken)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(frame, &bytes, &size) < 0)
        return ERROR;
    const uint8_t *name = (const uint8_t *)bytes, *nul = memchr(name, 0, (size_t)size);
    if (nul == NULL)
        return LEFT;
    Cursor cursor = {nul + 1, size - (nul + 1 - name)};
    if (nul - name == 9 && memcmp(name, "ticks/all", 9) == 0) {
        Topic *chunks;
        enum outcome outcome = find(self, name, 9, &chunks);
        if (outcome == ORDINARY) {
            outcome = take_many(self, &cursor, chunks, moment, taken);
            Py_DECREF((PyObject *)chunks);
        }
        return outcome;
    }
    Arriving tick = {.name = name, .name_size = nul - name};
    enum outcome outcome = take_one(self, &cursor, &tick, moment, taken);
    release_all(&tick, 1);
    return outcome;
}

/* take(view, frame, now_ns, utc_ns, gen, losses) -> how many ticks it brought; -1 when the message is
   left to Python, with nothing changed. */
static PyObject *
intake_take(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "take takes six arguments");
        return NULL;
    }
    Moment moment = {.view = args[0], .now = args[2], .utc = args[3]};
    Py_ssize_t taken = 0;
    enum outcome outcome = number_of(args[2], &moment.now_ns);
    if (outcome == ORDINARY)
        outcome = number_of(args[4], &moment.gen);
    if (outcome == ORDINARY)
        outcome = number_of(args[5], &moment.losses);
    if (outcome == ORDINARY)
        outcome = take_message((Intake *)object, args[1], &moment, &taken);
    if (outcome == ERROR)
        return NULL;
    if (outcome == LEFT) /* whatever Python makes of it: an arrival is shared only by what follows it */
        Py_CLEAR(((Intake *)object)->arrival);
    return PyLong_FromSsize_t(outcome == LEFT ? -1 : taken);
}

static PyMethodDef INTAKE_METHODS[] = {
    {"take", (PyCFunction)(void (*)(void))intake_take, METH_FASTCALL, "Takes in one message."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot INTAKE_SLOTS[] = {
    {Py_tp_methods, INTAKE_METHODS},
    {Py_tp_new, (void *)intake_new},
    {Py_tp_dealloc, (void *)intake_dealloc},
    {Py_tp_traverse, (void *)intake_visit},
    {Py_tp_clear, (void *)intake_clear},
    {Py_tp_doc, (void *)"Takes in messages of ticks."},
    {0, NULL},
};

static PyType_Spec INTAKE_SPEC = {
    .name = "kitefeed._hot.loops.Intake",
    .basicsize = sizeof(Intake),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = INTAKE_SLOTS,
};

PyObject *
make_intake_type(PyObject *module)
{
    return PyType_FromModuleAndSpec(module, &INTAKE_SPEC, NULL);
}
