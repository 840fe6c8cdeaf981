/* The least that calls a graph: what the runner's times are held against (runner.py).
 *
 *   bare ort|litert LIBRARY MODEL THREADS WARMUP_SECONDS RUNS NAME=FILE...
 *
 * No job, no checks, no report: inputs as given, then RUNS lines of nanoseconds. It knows only
 * float32. Written apart from the runner so that the two do not share a mistake.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST 16

static void *library;
static char **given;
static int given_count;

static void need(int well, const char *what) {
    if (well) return;
    fprintf(stderr, "bare: %s failed\n", what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void symbol(const char *name, void *place) {
    void *found = dlsym(library, name);
    need(found != NULL, name);
    memcpy(place, &found, sizeof found);
}

/* 64-byte aligned floats, filled from NAME=FILE if there is one. */
static float *buffer(const char *name, size_t elements) {
    size_t bytes = elements * sizeof(float);
    float *memory = aligned_alloc(64, (bytes + 127) / 64 * 64);
    need(memory != NULL, "memory");
    memset(memory, 0, bytes);
    for (int i = 0; i < given_count; i++) {
        size_t length = strlen(name);
        if (strncmp(given[i], name, length) != 0 || given[i][length] != '=') continue;
        FILE *file = fopen(given[i] + length + 1, "rb");
        need(file != NULL && fread(memory, 1, bytes, file) == bytes, given[i]);
        fclose(file);
    }
    return memory;
}

/* ---- ONNX Runtime ---- */

typedef void (*Any)(void);
static const Any *api;
static void *session, *in_values[MOST], *out_values[MOST];
static const char *in_names[MOST], *out_names[MOST];
static size_t in_count, out_count;
static void *(*ort_run)(void *, void *, const char *const *, const void *const *, size_t,
                        const char *const *, size_t, void **);

static void call_ort(void) {
    need(ort_run(session, NULL, in_names, (const void *const *)in_values, in_count, out_names,
                 out_count, out_values) == NULL, "Run");
}

static void ort_values(int count_slot, int type_slot, int name_slot, size_t *count,
                       const char **names, void **values, void *memory, void *allocator) {
    ((void *(*)(void *, size_t *))api[count_slot])(session, count);
    for (size_t i = 0; i < *count; i++) {
        void *type = NULL;
        const void *info = NULL;
        size_t rank = 0, elements = 1;
        int64_t dims[8];
        ((void *(*)(void *, size_t, void *, const char **))api[name_slot])(session, i, allocator,
                                                                          &names[i]);
        ((void *(*)(void *, size_t, void **))api[type_slot])(session, i, &type);
        ((void *(*)(void *, const void **))api[55])(type, &info);
        ((void *(*)(const void *, size_t *))api[61])(info, &rank);
        ((void *(*)(const void *, int64_t *, size_t))api[62])(info, dims, rank);
        for (size_t d = 0; d < rank; d++) elements *= (size_t)dims[d];
        need(((void *(*)(void *, void *, size_t, int64_t *, size_t, int, void **))api[49])(
                 memory, buffer(names[i], elements), elements * 4, dims, rank, 1, &values[i]) == NULL,
             names[i]);
    }
}

static void open_ort(const char *model, int threads) {
    struct base {
        const Any *(*get)(uint32_t);
    };
    const struct base *(*base)(void) = NULL;
    void *environment = NULL, *options = NULL, *memory = NULL, *allocator = NULL;
    symbol("OrtGetApiBase", &base);
    api = base()->get(12);
    need(((void *(*)(int, const char *, void **))api[3])(3, "bare", &environment) == NULL, "env");
    ((void *(*)(void **))api[10])(&options);
    ((void *(*)(void *, int))api[24])(options, threads);
    need(((void *(*)(void *, const char *, void *, void **))api[7])(environment, model, options,
                                                                  &session) == NULL, model);
    ((void *(*)(int, int, void **))api[69])(1, 0, &memory);
    ((void *(*)(void **))api[78])(&allocator);
    ort_values(30, 33, 36, &in_count, in_names, in_values, memory, allocator);
    ort_values(31, 34, 37, &out_count, out_names, out_values, memory, allocator);
    memcpy(&ort_run, &api[9], sizeof ort_run);
}

/* ---- LiteRT ---- */

typedef struct {
    int dtype;
    uint32_t rank;
    int32_t dims[8];
    uint32_t strides[8];
} Type;

static void *compiled, *in_buffers[MOST], *out_buffers[MOST];
static int (*lite_run)(void *, size_t, size_t, void **, size_t, void **);

static void call_lite(void) {
    need(lite_run(compiled, 0, in_count, in_buffers, out_count, out_buffers) == 0, "Run");
}

static void lite_buffers(void *signature, const char *side, size_t *count, void **buffers) {
    int (*number)(void *, size_t *);
    int (*name)(void *, size_t, const char **);
    int (*tensor)(void *, size_t, void **);
    int (*type)(void *, Type *);
    int (*wrap)(const Type *, void *, size_t, void (*)(void *), void **);
    char text[64];
    snprintf(text, sizeof text, "LiteRtGetNumSignature%ss", side);
    symbol(text, &number);
    snprintf(text, sizeof text, "LiteRtGetSignature%sName", side);
    symbol(text, &name);
    snprintf(text, sizeof text, "LiteRtGetSignature%sTensorByIndex", side);
    symbol(text, &tensor);
    symbol("LiteRtGetRankedTensorType", &type);
    symbol("LiteRtCreateTensorBufferFromHostMemory", &wrap);
    number(signature, count);
    for (size_t i = 0; i < *count; i++) {
        const char *called = NULL;
        void *one = NULL;
        Type shape;
        size_t elements = 1;
        name(signature, i, &called);
        tensor(signature, i, &one);
        need(type(one, &shape) == 0, called);
        for (unsigned d = 0; d < (shape.rank & 127); d++) elements *= (size_t)shape.dims[d];
        need(wrap(&shape, buffer(called, elements), elements * 4, NULL, &buffers[i]) == 0, called);
    }
}

static void open_lite(const char *path, int threads) {
    int (*environment)(int, const void *, void **);
    int (*model)(void *, const char *, void **);
    int (*signature)(void *, size_t, void **);
    int (*options)(void **);
    int (*accelerators)(void *, int);
    int (*opaque)(const char *, void *, void (*)(void *), void **);
    int (*add)(void *, void *);
    int (*compile)(void *, void *, void *, void **);
    void *env = NULL, *file = NULL, *set = NULL, *extra = NULL, *first = NULL;
    char text[32];
    symbol("LiteRtCreateEnvironment", &environment);
    symbol("LiteRtCreateModelFromFile", &model);
    symbol("LiteRtGetModelSignature", &signature);
    symbol("LiteRtCreateOptions", &options);
    symbol("LiteRtSetOptionsHardwareAccelerators", &accelerators);
    symbol("LiteRtCreateOpaqueOptions", &opaque);
    symbol("LiteRtAddOpaqueOptions", &add);
    symbol("LiteRtCreateCompiledModel", &compile);
    symbol("LiteRtRunCompiledModel", &lite_run);
    snprintf(text, sizeof text, "num_threads = %d\n", threads);
    need(environment(0, NULL, &env) == 0 && model(env, path, &file) == 0, path);
    need(options(&set) == 0 && accelerators(set, 1) == 0, "options");
    need(opaque("xnnpack", strdup(text), free, &extra) == 0 && add(set, extra) == 0, "threads");
    need(compile(env, file, set, &compiled) == 0, "compile");
    need(signature(file, 0, &first) == 0, "signature");
    lite_buffers(first, "Input", &in_count, in_buffers);
    lite_buffers(first, "Output", &out_count, out_buffers);
}

int main(int count, char **words) {
    need(count > 7, "usage");
    int is_ort = strcmp(words[1], "ort") == 0, runs = atoi(words[6]);
    given = words + 7;
    given_count = count - 7;
    library = dlopen(words[2], RTLD_NOW);
    need(library != NULL, words[2]);
    if (is_ort) {
        open_ort(words[3], atoi(words[4]));
    } else {
        open_lite(words[3], atoi(words[4]));
    }
    void (*call)(void) = is_ort ? call_ort : call_lite;
    int64_t *times = calloc((size_t)runs, sizeof *times), until = now() + (int64_t)(1e9 * atof(words[5]));
    need(times != NULL, "memory");
    while (now() < until) call();
    for (int i = 0; i < runs; i++) {
        int64_t start = now();
        call();
        times[i] = now() - start;
    }
    for (int i = 0; i < runs; i++) printf("%lld\n", (long long)times[i]);
    fflush(stdout);
    _exit(0);
}
