/* Functions by their place in a table that is only ever appended to. */
#include "sam_onnxruntime.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void); /* any function, until it is cast to its own type */
typedef void *Status;           /* NULL is well */

typedef struct {
    const Function *(*get_api)(uint32_t version);
    const char *(*version)(void);
} OrtBase;

struct SamOrt {
    const Function *api;
    const char *version;
    void *environment, *memory, *allocator;
};

enum {
    GET_ERROR_MESSAGE = 2,
    CREATE_ENV = 3,
    DISABLE_TELEMETRY = 6,
    CREATE_SESSION = 7,
    RUN = 9,
    CREATE_SESSION_OPTIONS = 10,
    SET_INTRA_OP_THREADS = 24,
    CREATE_TENSOR = 48,
    GET_TENSOR_DATA = 51,
    GET_ELEMENT_TYPE = 60,
    GET_DIMENSIONS_COUNT = 61,
    GET_DIMENSIONS = 62,
    GET_TYPE_AND_SHAPE = 65,
    GET_ALLOCATOR = 78,
    RELEASE_STATUS = 93,
    RELEASE_SESSION = 95,
    RELEASE_VALUE = 96,
    RELEASE_SHAPE = 99,
    RELEASE_SESSION_OPTIONS = 100,
    ADD_CONFIG = 130,
    API_VERSION = 12 /* the first whose table reaches that far */
};
enum { FLOAT32 = 1, ERRORS_ONLY = 3 };

#define CALL(ort, slot, type) ((type)(ort)->api[slot])

typedef const char *(*MessageOf)(Status);
typedef void (*Release)(void *);
typedef Status (*CreateEnvironment)(int severity, const char *name, void **environment);
typedef Status (*OfEnvironment)(void *environment);
typedef Status (*CreateSession)(void *environment, const char *path, void *options, void **session);
typedef Status (*Run)(void *session, void *options, const char *const *in_names, const void *const *inputs,
                      size_t in_count, const char *const *out_names, size_t out_count, void **outputs);
typedef Status (*Create)(void **made);
typedef Status (*SetThreads)(void *options, int threads);
typedef Status (*AddConfig)(void *options, const char *key, const char *value);
typedef Status (*CreateTensor)(void *allocator, const int64_t *dims, size_t rank, int type, void **value);
typedef Status (*GetData)(void *value, void **data);
typedef Status (*GetShape)(void *value, void **shape);
typedef Status (*GetType)(const void *shape, int *type);
typedef Status (*GetRank)(const void *shape, size_t *rank);
typedef Status (*GetDims)(const void *shape, int64_t *dims, size_t rank);

static char *line(const char *form, ...) {
    char text[1024];
    va_list rest;
    va_start(rest, form);
    vsnprintf(text, sizeof text, form, rest);
    va_end(rest);
    for (char *at = text; *at; at++) {
        if ((unsigned char)*at < ' ') *at = ' ';
    }
    return strdup(text);
}

static char *fault(const SamOrt *ort, Status status) {
    if (!status) return NULL;
    char *text = line("onnxruntime: %s", CALL(ort, GET_ERROR_MESSAGE, MessageOf)(status));
    CALL(ort, RELEASE_STATUS, Release)(status);
    return text;
}

static char *start(const char *library, SamOrt *ort) {
    setenv("ORT_DISABLE_TELEMETRY", "1", 0); /* from 1.29 on it sends some unless told before it loads */
    void *opened = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!opened) return line("cannot open ONNX Runtime: %s", dlerror());
    const OrtBase *(*base)(void) = NULL;
    *(void **)&base = dlsym(opened, "OrtGetApiBase");
    if (!base) return line("%s is no ONNX Runtime: it has no OrtGetApiBase", library);
    ort->version = base()->version();
    ort->api = base()->get_api(API_VERSION);
    if (!ort->api) return line("ONNX Runtime %s does not know API version %d", ort->version, API_VERSION);
    char *wrong = fault(ort, CALL(ort, CREATE_ENV, CreateEnvironment)(ERRORS_ONLY, "sam", &ort->environment));
    if (!wrong) wrong = fault(ort, CALL(ort, DISABLE_TELEMETRY, OfEnvironment)(ort->environment));
    if (!wrong) wrong = fault(ort, CALL(ort, GET_ALLOCATOR, Create)(&ort->allocator));
    return wrong;
}

char *sam_ort_open(const char *library, SamOrt **ort) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static SamOrt *shared;
    char *wrong = NULL;
    pthread_mutex_lock(&lock);
    if (!shared) {
        SamOrt *made = calloc(1, sizeof *made);
        wrong = made ? start(library, made) : line("no memory");
        if (wrong) free(made);
        else shared = made;
    }
    *ort = shared;
    pthread_mutex_unlock(&lock);
    return wrong;
}

const char *sam_ort_version(const SamOrt *ort) { return ort->version; }

char *sam_ort_load(SamOrt *ort, const char *path, int threads, SamOrtSession **session) {
    void *options = NULL;
    *session = NULL;
    char *wrong = fault(ort, CALL(ort, CREATE_SESSION_OPTIONS, Create)(&options));
    if (wrong) return wrong;
    wrong = fault(ort, CALL(ort, SET_INTRA_OP_THREADS, SetThreads)(options, threads));
    /* Else its threads wait for work some 20 ms after a call, on a core that an app needs. */
    if (!wrong) {
        wrong = fault(ort, CALL(ort, ADD_CONFIG, AddConfig)(options, "session.force_spinning_stop", "1"));
    }
    if (!wrong) {
        wrong = fault(ort, CALL(ort, CREATE_SESSION, CreateSession)(ort->environment, path, options,
                                                                    (void **)session));
    }
    CALL(ort, RELEASE_SESSION_OPTIONS, Release)(options);
    return wrong;
}

void sam_ort_release_session(SamOrt *ort, SamOrtSession *session) {
    if (session) CALL(ort, RELEASE_SESSION, Release)(session);
}

void sam_ort_release_value(SamOrt *ort, SamOrtValue *value) {
    if (value) CALL(ort, RELEASE_VALUE, Release)(value);
}

char *sam_ort_value(SamOrt *ort, const float *numbers, const int64_t *dims, size_t rank, SamOrtValue **value) {
    void *data = NULL;
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) count *= (size_t)dims[i];
    *value = NULL;
    char *wrong = fault(ort, CALL(ort, CREATE_TENSOR, CreateTensor)(ort->allocator, dims, rank, FLOAT32,
                                                                    (void **)value));
    if (!wrong) wrong = fault(ort, CALL(ort, GET_TENSOR_DATA, GetData)(*value, &data));
    if (!wrong) memcpy(data, numbers, count * sizeof *numbers);
    return wrong;
}

char *sam_ort_look(SamOrt *ort, SamOrtValue *value, const float **numbers, int64_t *dims, size_t *rank) {
    void *shape = NULL, *data = NULL;
    int type = 0;
    char *wrong = fault(ort, CALL(ort, GET_TYPE_AND_SHAPE, GetShape)(value, &shape));
    if (wrong) return wrong;
    wrong = fault(ort, CALL(ort, GET_ELEMENT_TYPE, GetType)(shape, &type));
    if (!wrong && type != FLOAT32) wrong = line("an output is of type %d, not float32", type);
    if (!wrong) wrong = fault(ort, CALL(ort, GET_DIMENSIONS_COUNT, GetRank)(shape, rank));
    if (!wrong && *rank > SAM_ORT_MOST_RANK) wrong = line("an output has %zu dimensions", *rank);
    if (!wrong) wrong = fault(ort, CALL(ort, GET_DIMENSIONS, GetDims)(shape, dims, *rank));
    CALL(ort, RELEASE_SHAPE, Release)(shape);
    if (!wrong) wrong = fault(ort, CALL(ort, GET_TENSOR_DATA, GetData)(value, &data));
    *numbers = data;
    return wrong;
}

char *sam_ort_run(SamOrt *ort, SamOrtSession *session, const char *const *in_names, SamOrtValue *const *inputs,
                  size_t in_count, const char *const *out_names, SamOrtValue **outputs, size_t out_count) {
    memset(outputs, 0, out_count * sizeof *outputs);
    return fault(ort, CALL(ort, RUN, Run)(session, NULL, in_names, (const void *const *)inputs, in_count,
                                          out_names, out_count, (void **)outputs));
}
