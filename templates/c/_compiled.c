/* Calls compiled layers from Python, and the BLAS from compiled layers.
 *
 * Made by derive; the same for every layer. Compiled by _compiled.py beside it, with any C11 compiler and without
 * Python's or NumPy's headers: Python's functions (all of its stable ABI) come as a table of pointers, and where an
 * array keeps its data, shape and strides, which has not changed since NumPy 1.7, is measured on a sample at start.
 *
 * A call is prepared once for each combination of shapes, dtypes and whole hyper-parameters: that is a Plan. A call
 * that fits one costs some tenths of a microsecond; all others go to Python, which checks, converts and plans.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef struct Object Object; /* a PyObject */
typedef Object *(*Fast)(Object *self, Object *const *args, ptrdiff_t count);

/* Matrix products */

typedef void (*CblasF64)(int, int, int, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *,
                         int64_t, float, float *, int64_t);
typedef void (*CblasD64)(int, int, int, int64_t, int64_t, int64_t, double, const double *, int64_t, const double *,
                         int64_t, double, double *, int64_t);
typedef void (*CblasF32)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *,
                         int);
typedef void (*CblasD32)(int, int, int, int, int, int, double, const double *, int, const double *, int, double,
                         double *, int);
typedef void (*FortranF)(const char *, const char *, const int *, const int *, const int *, const float *,
                         const float *, const int *, const float *, const int *, const float *, float *, const int *);
typedef void (*FortranD)(const char *, const char *, const int *, const int *, const int *, const double *,
                         const double *, const int *, const double *, const int *, const double *, double *,
                         const int *);

/* The products of a BLAS: its C functions with 64-bit or 32-bit sizes, or its Fortran functions. */
static struct {
    CblasF64 f64;
    CblasD64 d64;
    CblasF32 f32;
    CblasD32 d32;
    FortranF ff;
    FortranD fd;
} blas;

enum { ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112 };

EXPORT void compiled_set_blas(void *const *functions)
{
    memcpy(&blas, functions, sizeof blas);
}

/* c[m, n] = alpha * op(a)[m, k] @ op(b)[k, n] + beta * c, by rows. */
#define GEMM(NAME, REAL, CBLAS64, CBLAS32, FORTRAN)                                                                    \
    EXPORT void NAME(int transa, int transb, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, REAL alpha, const REAL *a,         \
                     ptrdiff_t lda, const REAL *b, ptrdiff_t ldb, REAL beta, REAL *c, ptrdiff_t ldc)                   \
    {                                                                                                                  \
        int ta = transa ? TRANSPOSED : AS_IT_IS, tb = transb ? TRANSPOSED : AS_IT_IS;                                  \
        if (CBLAS64) {                                                                                                 \
            CBLAS64(ROW_MAJOR, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                                  \
        } else if (CBLAS32) {                                                                                          \
            CBLAS32(ROW_MAJOR, ta, tb, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);    \
        } else { /* by columns, c' = op(b)' @ op(a)' */                                                                \
            int rows = (int)n, columns = (int)m, inner = (int)k, first = (int)ldb, second = (int)lda, last = (int)ldc; \
            FORTRAN(transb ? "T" : "N", transa ? "T" : "N", &rows, &columns, &inner, &alpha, b, &first, a, &second,    \
                    &beta, c, &last);                                                                                  \
        }                                                                                                              \
    }

GEMM(compiled_sgemm, float, blas.f64, blas.f32, blas.ff)
GEMM(compiled_dgemm, double, blas.d64, blas.d32, blas.fd)

/* Python */

typedef struct {
    const char *name;
    Fast function;
    int flags;
    const char *doc;
} Method; /* a PyMethodDef */

static struct {
    Object *(*method)(Method *, Object *, Object *);     /* PyCFunction_NewEx */
    Object *(*capsule)(void *, const char *, void *);    /* PyCapsule_New */
    void *(*pointer)(Object *, const char *);            /* PyCapsule_GetPointer */
    Object *(*call)(Object *, Object *, Object *);       /* PyObject_Call */
    Object *(*call_objects)(Object *, ...);              /* PyObject_CallFunctionObjArgs */
    Object *(*type)(Object *);                           /* PyObject_Type */
    Object *(*item)(Object *, Object *);                 /* PyObject_GetItem */
    int (*equal)(Object *, Object *, int);               /* PyObject_RichCompareBool */
    Object *(*tuple)(ptrdiff_t);                         /* PyTuple_New */
    Object *(*tuple_item)(Object *, ptrdiff_t);          /* PyTuple_GetItem */
    int (*tuple_set)(Object *, ptrdiff_t, Object *);     /* PyTuple_SetItem */
    ptrdiff_t (*tuple_size)(Object *);                   /* PyTuple_Size */
    double (*number)(Object *);                          /* PyFloat_AsDouble */
    Object *(*integer)(long);                            /* PyLong_FromLong */
    Object *(*error)(void);                              /* PyErr_Occurred */
    void (*retain)(Object *);                            /* Py_IncRef */
    void (*release)(Object *);                           /* Py_DecRef */
    void *(*unlock)(void);                               /* PyEval_SaveThread */
    void (*lock)(void *);                                /* PyEval_RestoreThread */
    Object *none, *array_type, *float_type, *int_type, *empty, *new_tuple, *no_items;
    ptrdiff_t head; /* bytes of an object's head */
} py;

EXPORT void compiled_set_python(const void *functions)
{
    memcpy(&py, functions, sizeof py);
}

/* An ndarray behind its head: PyArrayObject_fields of NumPy's ndarraytypes.h. */
typedef struct {
    char *data;
    int nd;
    ptrdiff_t *dimensions, *strides;
    Object *base, *descr;
    int flags;
} Array;

enum { C_CONTIGUOUS = 0x1, ALIGNED = 0x100, WRITEABLE = 0x400, WANTED = C_CONTIGUOUS | ALIGNED };

static const Array *array_of(Object *object)
{
    return (const Array *)((const char *)object + py.head);
}

/* Write what is read of an array, for _compiled.py to compare: data, nd, dimensions, strides, descr, flags. */
EXPORT void compiled_read(Object *object, int64_t *result)
{
    const Array *a = array_of(object);
    *result++ = (int64_t)(intptr_t)a->data;
    *result++ = a->nd;
    for (int i = 0; i < a->nd; i++) *result++ = a->dimensions[i];
    for (int i = 0; i < a->nd; i++) *result++ = a->strides[i];
    *result++ = (int64_t)(intptr_t)a->descr;
    *result++ = a->flags;
}

/* Plans */

typedef int (*Entry)(const ptrdiff_t *sizes, const double *hypers, void *const *arrays);
typedef size_t (*Room)(const ptrdiff_t *sizes, const double *hypers);

enum Source { ARGUMENT, CACHE, RESULT, OBJECT };

typedef struct {
    int32_t source, place; /* ARGUMENT or CACHE, and which */
    int32_t slot;          /* among the arrays of the C function */
    int32_t number;        /* whether a Python number will do */
    int64_t nd;
    const ptrdiff_t *dimensions;
    Object *descr;
    size_t bytes;
} Operand;

typedef struct {
    int64_t slot; /* among the arrays of the C function */
    Object *form; /* the arguments of numpy.empty */
    int64_t nd;
    const ptrdiff_t *dimensions;
    Object *descr;
    size_t bytes;
} Result;

typedef struct {
    int32_t source, place;
    Object *object; /* an OBJECT to hand out; or what has to be found at the place */
} Part;

typedef struct {
    const Operand *operands;
    const Result *results;
    const Part *hypers; /* Real hyper-parameters: where they come from */
    const Part *fixed;  /* what has to be what it was */
    const Part *fields; /* of the record that Python gets: the cache, or the gradients */
    int32_t operand_count, result_count, hyper_count, fixed_count, field_count;
    int32_t output_count; /* results that stand before the record; 0: the record alone */
    int32_t slots;        /* arrays of the C function, the workspace included, which is the last */
    int32_t single;       /* float, not double */
    int32_t unlocks;      /* whether other Python threads run meanwhile */
    int32_t busy;         /* calls that are under way */
    const ptrdiff_t *sizes;
    Entry entry;
    Room room; /* the bytes of its workspace; they depend on how many threads there may be */
} Plan;

enum { MOST = 32, KEPT = 1 << 28 }; /* plans of a function; bytes of a workspace that is kept for the next call */

typedef struct {
    int32_t arguments; /* how many */
    int32_t cache;     /* which is the cache, -1 for none */
    int32_t out;       /* which is the record of arrays to write to, -1 for none */
    int32_t cache_fields;
    Object *cache_type, *record; /* the type of the cache that is read; that of the record that Python gets */
    Object *slow, *failed;       /* what does all other calls; what raises for a status */
    Plan *plans[MOST];           /* the latest first */
    int64_t count;
    void *memory; /* a workspace, used again */
    size_t memory_size;
    int64_t memory_busy;
    Method method;
} Function;

EXPORT size_t compiled_function_size(void)
{
    return sizeof(Function);
}

/* Put a plan first; return the one that had to go, or NULL. */
EXPORT Plan *compiled_add(Function *f, Plan *plan)
{
    Plan *last = f->count == MOST ? f->plans[MOST - 1] : NULL;
    if (f->count < MOST) f->count++;
    memmove(f->plans + 1, f->plans, (size_t)(f->count - 1) * sizeof *f->plans);
    f->plans[0] = plan;
    return last;
}

static int fits(const Array *a, int64_t nd, const ptrdiff_t *dimensions, const Object *descr)
{
    if (a->descr != descr || a->nd != nd || (a->flags & WANTED) != WANTED) return 0;
    for (int64_t i = 0; i < nd; i++)
        if (a->dimensions[i] != dimensions[i]) return 0;
    return 1;
}

static int is_a(Object *object, const Object *type)
{
    Object *own = py.type(object);
    py.release(own);
    return own == type;
}

/* Whether the object is a float or an int, and its value; too large an int leaves an error set. */
static int number_of(Object *object, double *value)
{
    if (!is_a(object, py.float_type) && !is_a(object, py.int_type)) return 0;
    *value = py.number(object);
    return *value != -1 || !py.error();
}

static Object *at(const Function *f, int32_t source, int32_t place, Object *const *args)
{
    return source == ARGUMENT ? args[place] : py.tuple_item(args[f->cache], place);
}

/* Fill in pointers and numbers (first the hyper-parameters); 0 where the arguments are not as planned. */
static int match(const Function *f, const Plan *plan, Object *const *args, void **pointers, double *numbers)
{
    for (int i = 0; i < plan->fixed_count; i++) {
        const Part *part = plan->fixed + i;
        Object *object = at(f, part->source, part->place, args);
        if (object != part->object &&
            (part->source != ARGUMENT || !is_a(object, py.int_type) || py.equal(object, part->object, 2) != 1))
            return 0;
    }
    for (int i = 0; i < plan->operand_count; i++) {
        const Operand *o = plan->operands + i;
        Object *object = at(f, o->source, o->place, args);
        if (is_a(object, py.array_type)) {
            const Array *a = array_of(object);
            if (!fits(a, o->nd, o->dimensions, o->descr)) return 0;
            pointers[o->slot] = a->data;
        } else {
            double value, *place = numbers + plan->hyper_count + i;
            if (!o->number || !number_of(object, &value)) return 0;
            if (plan->single) {
                float rounded = (float)value;
                memcpy(place, &rounded, sizeof rounded);
            } else {
                *place = value;
            }
            pointers[o->slot] = place;
        }
    }
    for (int i = 0; i < plan->hyper_count; i++)
        if (!number_of(at(f, plan->hypers[i].source, plan->hypers[i].place, args), numbers + i)) return 0;
    return 1;
}

static int overlap(const void *a, size_t m, const void *b, size_t n)
{
    uintptr_t p = (uintptr_t)a, q = (uintptr_t)b;
    return p < q + n && q < p + m;
}

/* Whether the arrays of `out`, None for one to be made, are those of the plan, apart from one another and all else. */
static int writable(const Plan *plan, Object *out, void *const *pointers)
{
    if (py.tuple_size(out) != plan->result_count) return 0;
    for (int i = 0; i < plan->result_count; i++) {
        const Result *r = plan->results + i;
        Object *given = py.tuple_item(out, i);
        if (given == py.none) continue;
        if (!is_a(given, py.array_type)) return 0;
        const Array *a = array_of(given);
        if (!fits(a, r->nd, r->dimensions, r->descr) || !(a->flags & WRITEABLE)) return 0;
        for (int j = 0; j < plan->operand_count; j++)
            if (overlap(a->data, r->bytes, pointers[plan->operands[j].slot], plan->operands[j].bytes)) return 0;
        for (int j = 0; j < i; j++) {
            Object *other = py.tuple_item(out, j);
            if (other != py.none && overlap(a->data, r->bytes, array_of(other)->data, plan->results[j].bytes)) return 0;
        }
    }
    return 1;
}

/* Run the C function; its status, or -1 without memory. */
static int run(Function *f, const Plan *plan, void **pointers, const double *numbers)
{
    void *own = NULL, *state = NULL;
    int shared = 0;
    const size_t bytes = plan->room(plan->sizes, numbers);
    pointers[plan->slots - 1] = NULL;
    if (bytes) {
        shared = !f->memory_busy && bytes <= KEPT;
        if (shared && f->memory_size < bytes) {
            free(f->memory);
            f->memory = malloc(bytes + 63);
            f->memory_size = f->memory ? bytes : 0;
        }
        void *memory = shared ? f->memory : (own = malloc(bytes + 63));
        if (!memory) return -1;
        f->memory_busy += shared;
        pointers[plan->slots - 1] = (void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    }
    if (plan->unlocks) state = py.unlock();
    int status = plan->entry(plan->sizes, numbers, pointers);
    if (plan->unlocks) py.lock(state);
    f->memory_busy -= shared;
    free(own);
    return status;
}

static Object *kept(Object *object)
{
    py.retain(object);
    return object;
}

/* Return the cache or the gradients. */
static Object *record_of(const Function *f, const Plan *plan, Object *const *args, Object *const *results)
{
    Object *fields = py.tuple(plan->field_count), *record = NULL;
    for (int i = 0; fields && i < plan->field_count; i++) {
        const Part *part = plan->fields + i;
        Object *const *from = part->source == RESULT ? results : args;
        py.tuple_set(fields, i, kept(part->source == OBJECT ? part->object : from[part->place]));
    }
    if (fields) {
        record = py.call_objects(py.new_tuple, f->record, fields, NULL);
        py.release(fields);
    }
    return record;
}

/* Return an output; one without axes as a NumPy scalar. */
static Object *output_of(const Plan *plan, int i, Object *const *results)
{
    return plan->results[i].nd ? kept(results[i]) : py.item(results[i], py.no_items);
}

/* Return what Python gets: `(outputs, record)`, or the record alone. */
static Object *composed(const Function *f, const Plan *plan, Object *const *args, Object *const *results)
{
    Object *record = record_of(f, plan, args, results);
    if (!record || !plan->output_count) return record;
    Object *pair = py.tuple(2), *outputs = NULL;
    if (plan->output_count == 1) {
        outputs = output_of(plan, 0, results);
    } else if ((outputs = py.tuple(plan->output_count))) {
        for (int i = 0; outputs && i < plan->output_count; i++) {
            Object *output = output_of(plan, i, results);
            if (output) {
                py.tuple_set(outputs, i, output);
            } else {
                py.release(outputs);
                outputs = NULL;
            }
        }
    }
    if (!pair || !outputs) {
        if (pair) py.release(pair);
        if (outputs) py.release(outputs);
        py.release(record);
        return NULL;
    }
    py.tuple_set(pair, 0, outputs);
    py.tuple_set(pair, 1, record);
    return pair;
}

/* Make the results, run the C function, return what Python gets. */
static Object *perform(Function *f, const Plan *plan, Object *const *args, Object *out, void **pointers,
                       const double *numbers)
{
    Object *results[plan->result_count + 1], *answer = NULL;
    int made = 0;
    while (made < plan->result_count) {
        Object *given = out ? py.tuple_item(out, made) : py.none;
        results[made] = given == py.none ? py.call(py.empty, plan->results[made].form, NULL) : kept(given);
        if (!results[made]) break;
        pointers[plan->results[made].slot] = array_of(results[made])->data;
        made++;
    }
    if (made == plan->result_count) {
        int status = run(f, plan, pointers, numbers);
        if (status) {
            Object *code = py.integer(status), *arguments = py.tuple(f->arguments);
            for (int i = 0; arguments && i < f->arguments; i++) py.tuple_set(arguments, i, kept(args[i]));
            if (code && arguments) answer = py.call_objects(f->failed, code, arguments, NULL); /* raises */
            if (code) py.release(code);
            if (arguments) py.release(arguments);
        } else {
            answer = composed(f, plan, args, results);
        }
    }
    while (made > 0) py.release(results[--made]);
    return answer;
}

/* What Python calls. */
static Object *called(Object *self, Object *const *args, ptrdiff_t count)
{
    Function *f = py.pointer(self, NULL);
    Object *out = f->out >= 0 && count == f->arguments && args[f->out] != py.none ? args[f->out] : NULL;
    int planned = count == f->arguments && (!out || is_a(out, f->record));
    if (planned && f->cache >= 0)
        planned = is_a(args[f->cache], f->cache_type) && py.tuple_size(args[f->cache]) == f->cache_fields;
    for (int64_t i = 0; planned && i < f->count; i++) {
        Plan *plan = f->plans[i];
        void *pointers[plan->slots];
        double numbers[plan->hyper_count + plan->operand_count + 1];
        if (match(f, plan, args, pointers, numbers) && (!out || writable(plan, out, pointers))) {
            memmove(f->plans + 1, f->plans, (size_t)i * sizeof *f->plans);
            f->plans[0] = plan;
            plan->busy++; /* what it points to stays where it is */
            Object *answer = perform(f, plan, args, out, pointers, numbers);
            plan->busy--;
            return answer;
        }
        if (py.error()) return NULL;
    }
    Object *arguments = py.tuple(count), *answer = NULL;
    if (!arguments) return NULL;
    for (ptrdiff_t i = 0; i < count; i++) py.tuple_set(arguments, i, kept(args[i]));
    answer = py.call(f->slow, arguments, NULL);
    py.release(arguments);
    return answer;
}

/* Return the Python function for a Function that stays where it is. */
EXPORT Object *compiled_function(Function *f, const char *name)
{
    Object *self = py.capsule(f, NULL, NULL);
    if (!self) return NULL;
    f->method = (Method){name, called, 0x80 /* METH_FASTCALL */, NULL};
    Object *function = py.method(&f->method, self, NULL);
    py.release(self);
    return function;
}
