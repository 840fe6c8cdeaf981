/* ONNX Runtime: functions by their place in a table that is only ever appended to. */
#include "runner.h"

#include <stdio.h>
#include <string.h>

typedef void (*Function)(void); /* any function, until it is cast to its own type */

typedef struct {
    const Function *(*get_api)(uint32_t version);
    const char *(*version)(void);
} OrtApiBase;

typedef void *Status; /* NULL is well */
static const Function *ort;
static void *ort_library, *ort_environment, *ort_memory, *ort_allocator;

typedef struct {
    void *session, *in_values[MAX_TENSORS], *out_values[MAX_TENSORS];
    const char *in_names[MAX_TENSORS], *out_names[MAX_TENSORS];
} OrtGraph;

static const int codes[DTYPES] = {[FLOAT32] = 1, [UINT8] = 2, [INT8] = 3,
                                  [INT32] = 6,   [INT64] = 7, [FLOAT16] = 10};

#define ORT(slot, ...) ((ORT_##slot##_T)ort[ORT_##slot])(__VA_ARGS__)

enum {
    ORT_MESSAGE = 2,
    ORT_CREATE_ENV = 3,
    ORT_CREATE_SESSION = 7,
    ORT_RUN = 9,
    ORT_CREATE_OPTIONS = 10,
    ORT_OPTIMIZATION = 23,
    ORT_INTRA_THREADS = 24,
    ORT_INPUT_COUNT = 30,
    ORT_OUTPUT_COUNT = 31,
    ORT_INPUT_TYPE = 33,
    ORT_OUTPUT_TYPE = 34,
    ORT_INPUT_NAME = 36,
    ORT_OUTPUT_NAME = 37,
    ORT_CREATE_TENSOR = 49,
    ORT_TENSOR_INFO = 55,
    ORT_ELEMENT_TYPE = 60,
    ORT_RANK = 61,
    ORT_DIMS = 62,
    ORT_CPU_MEMORY = 69,
    ORT_ALLOCATOR = 78,
    ORT_CONFIG = 130,
    ORT_APPEND_PROVIDER = 216,
    ORT_API_VERSION = 12 /* the first whose table reaches that far */
};

typedef const char *(*ORT_MESSAGE_T)(Status);
typedef Status (*ORT_CREATE_ENV_T)(int severity, const char *name, void **env);
typedef Status (*ORT_CREATE_SESSION_T)(void *env, const char *path, void *options, void **session);
typedef Status (*ORT_RUN_T)(void *session, void *options, const char *const *in_names,
                            const void *const *inputs, size_t in_count,
                            const char *const *out_names, size_t out_count, void **outputs);
typedef Status (*ORT_CREATE_OPTIONS_T)(void **options);
typedef Status (*ORT_OPTIMIZATION_T)(void *options, int level);
typedef Status (*ORT_INTRA_THREADS_T)(void *options, int threads);
typedef Status (*ORT_INPUT_COUNT_T)(void *session, size_t *count);
typedef Status (*ORT_OUTPUT_COUNT_T)(void *session, size_t *count);
typedef Status (*ORT_INPUT_TYPE_T)(void *session, size_t index, void **type);
typedef Status (*ORT_OUTPUT_TYPE_T)(void *session, size_t index, void **type);
typedef Status (*ORT_INPUT_NAME_T)(void *session, size_t index, void *allocator, char **name);
typedef Status (*ORT_OUTPUT_NAME_T)(void *session, size_t index, void *allocator, char **name);
typedef Status (*ORT_CREATE_TENSOR_T)(void *memory, void *data, size_t bytes, const int64_t *dims,
                                      size_t rank, int dtype, void **value);
typedef Status (*ORT_TENSOR_INFO_T)(void *type, const void **info);
typedef Status (*ORT_ELEMENT_TYPE_T)(const void *info, int *dtype);
typedef Status (*ORT_RANK_T)(const void *info, size_t *rank);
typedef Status (*ORT_DIMS_T)(const void *info, int64_t *dims, size_t rank);
typedef Status (*ORT_CPU_MEMORY_T)(int allocator_type, int memory_type, void **memory);
typedef Status (*ORT_ALLOCATOR_T)(void **allocator);
typedef Status (*ORT_CONFIG_T)(void *options, const char *key, const char *value);
typedef Status (*ORT_APPEND_PROVIDER_T)(void *options, const char *name, const char *const *keys,
                                        const char *const *values, size_t count);
typedef Status (*ORT_NNAPI_T)(void *options, uint32_t flags);
typedef const OrtApiBase *(*ORT_BASE_T)(void);

static void ort_check(Status status, const char *what) {
    if (status) fail("onnxruntime: %s: %s", what, ORT(MESSAGE, status));
}

static const char *ort_open(void *library) {
    ORT_BASE_T get_base = NULL;
    ort_library = library;
    if (!find(library, "OrtGetApiBase", &get_base)) {
        fail("%s is no onnxruntime: it has no OrtGetApiBase", job.library);
    }
    const OrtApiBase *base = get_base();
    const char *version = base->version();
    if (strcmp(job.version, "-") != 0 && strcmp(job.version, version) != 0) {
        fail("%s is onnxruntime %s, not %s", job.library, version, job.version);
    }
    ort = base->get_api(ORT_API_VERSION);
    if (!ort) fail("onnxruntime %s does not know API version %d", version, ORT_API_VERSION);
    ort_check(ORT(CREATE_ENV, 3, "runner", &ort_environment), "environment");
    ort_check(ORT(CPU_MEMORY, 1, 0, &ort_memory), "memory");
    ort_check(ORT(ALLOCATOR, &ort_allocator), "allocator");
    return version;
}

static void ort_delegate(void *options) {
    if (strcmp(job.delegate, "cpu") == 0) return;
    ort_check(ORT(CONFIG, options, "session.disable_cpu_ep_fallback", "1"), "no fallback");
    if (strcmp(job.delegate, "xnnpack") == 0) {
        char threads[16];
        snprintf(threads, sizeof threads, "%d", job.threads);
        const char *key = "intra_op_num_threads", *value = threads;
        ort_check(ORT(APPEND_PROVIDER, options, "XNNPACK", &key, &value, 1), "XNNPACK");
        /* It has threads of its own: those of onnxruntime would spin beside them. */
        ort_check(ORT(INTRA_THREADS, options, 1), "threads");
    } else if (strcmp(job.delegate, "nnapi") == 0) {
        ORT_NNAPI_T append = NULL;
        if (!find(ort_library, "OrtSessionOptionsAppendExecutionProvider_Nnapi", &append)) {
            fail("this onnxruntime was built without NNAPI");
        }
        ort_check(append(options, 0), "NNAPI");
    } else {
        fail("the runner has no delegate %s for onnxruntime", job.delegate);
    }
}

static void ort_tensor(Graph *graph, Tensor *tensor, void *type, void **value) {
    const void *info = NULL;
    int dtype = 0, wanted = codes[tensor->dtype];
    size_t rank = 0;
    int64_t dims[MAX_RANK] = {0};
    ort_check(ORT(TENSOR_INFO, type, &info), tensor->name);
    if (!info) fail("graph %s: %s is no tensor", graph->name, tensor->name);
    ort_check(ORT(ELEMENT_TYPE, info, &dtype), tensor->name);
    ort_check(ORT(RANK, info, &rank), tensor->name);
    if (rank > MAX_RANK) fail("graph %s: %s has %zu dimensions", graph->name, tensor->name, rank);
    ort_check(ORT(DIMS, info, dims, rank), tensor->name);
    demand_same(graph, tensor, dtype, wanted, (int)rank, dims);
    ort_check(ORT(CREATE_TENSOR, ort_memory, tensor->data, tensor->bytes, tensor->dims,
                  (size_t)tensor->rank, wanted, value), tensor->name);
}

static void ort_side(Graph *graph, bool input) {
    OrtGraph *loaded = graph->loaded;
    Tensor *tensors = input ? graph->inputs : graph->outputs;
    int wanted = input ? graph->input_count : graph->output_count;
    size_t count = 0;
    ort_check(input ? ORT(INPUT_COUNT, loaded->session, &count)
                    : ORT(OUTPUT_COUNT, loaded->session, &count), "count");
    if (count != (size_t)wanted) {
        fail("graph %s: %s has %zu %s, the job %d", graph->name, graph->model, count,
             input ? "inputs" : "outputs", wanted);
    }
    for (size_t i = 0; i < count; i++) {
        char *name = NULL;
        void *type = NULL;
        ort_check(input ? ORT(INPUT_NAME, loaded->session, i, ort_allocator, &name)
                        : ORT(OUTPUT_NAME, loaded->session, i, ort_allocator, &name), "name");
        ort_check(input ? ORT(INPUT_TYPE, loaded->session, i, &type)
                        : ORT(OUTPUT_TYPE, loaded->session, i, &type), name);
        Tensor *tensor = tensor_called(tensors, wanted, name, graph->name);
        (input ? loaded->in_names : loaded->out_names)[i] = tensor->name;
        ort_tensor(graph, tensor, type, &(input ? loaded->in_values : loaded->out_values)[i]);
    }
}

static void ort_load(Graph *graph) {
    OrtGraph *loaded = graph->loaded = allocate(sizeof *loaded);
    void *options = NULL;
    ort_check(ORT(CREATE_OPTIONS, &options), "options");
    ort_check(ORT(OPTIMIZATION, options, 99), "optimization");
    ort_check(ORT(INTRA_THREADS, options, job.threads), "threads");
    ort_delegate(options);
    ort_check(ORT(CREATE_SESSION, ort_environment, graph->model, options, &loaded->session),
              graph->model);
    ort_side(graph, true);
    ort_side(graph, false);
}

static void ort_call(Graph *graph) {
    OrtGraph *loaded = graph->loaded;
    Status status = ORT(RUN, loaded->session, NULL, loaded->in_names,
                        (const void *const *)loaded->in_values, (size_t)graph->input_count,
                        loaded->out_names, (size_t)graph->output_count, loaded->out_values);
    if (status) ort_check(status, graph->name);
}

const Runtime ort_runtime = {"ort", "onnxruntime", ort_open, ort_load, ort_call};
