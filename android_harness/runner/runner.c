/* Loads lowered graphs with a runtime that it opens itself, calls them, and times every call.
 *
 *   runner JOB               does what the job file says (job.py); one JSON object on stdout
 *   runner --version [LIB]   proves that it starts here, and that LIB can be opened
 *
 * One file, no header of any runtime: it is built for glibc on arm64 and x86_64 (the capsule) and
 * for bionic by the NDK. What a runtime prints goes to stderr, whatever stream it meant. An error
 * is one line on stderr, {"error": ...} on stdout and exit code 1.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROTOCOL 1
#define MAX_TENSORS 16
#define MAX_GRAPHS 8
#define MAX_CASES 64
#define MAX_RANK 8
#define MAX_CORES 256
#define MAX_SAMPLES 1000000
#define MAX_BYTES ((size_t)1 << 30) /* of a tensor; the largest of any variant is some megabytes */
#define ALIGNMENT 64 /* LiteRT refuses host memory that is aligned to less */
#define PADDING 64   /* XNNPACK may read a few bytes past an end */
#define WINDOW 5     /* calls whose median is compared with that of the WINDOW before */
#define STABLE 0.02  /* the two medians differ by no more than this share */
#define LEAST_WARMUP_NS 300000000LL /* a governor needs some tenths of a second to raise a clock */

typedef struct {
    const char *name, *dtype;
    int64_t dims[MAX_RANK];
    int rank;
    size_t bytes;
    void *data;
} Tensor;

typedef struct {
    const char *verb, *name, *file, *graph, *output; /* verb: read, link or write */
} Step;

typedef struct {
    const char *name;
    Step steps[2 * MAX_TENSORS];
    int step_count;
} Case;

typedef struct {
    const char *name, *model, *signature;
    Tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    int input_count, output_count, case_count;
    Case *cases;
    int64_t load_ns, first_ns;
    /* ONNX Runtime: */
    void *session, *in_values[MAX_TENSORS], *out_values[MAX_TENSORS];
    const char *in_names[MAX_TENSORS], *out_names[MAX_TENSORS];
    /* LiteRT, in the order of the signature: */
    void *compiled, *in_buffers[MAX_TENSORS], *out_buffers[MAX_TENSORS];
    size_t signature_index;
} Graph;

typedef struct {
    int64_t *values;
    size_t count, room;
} Samples;

static struct {
    const char *mode, *runtime, *version, *library, *delegate;
    int threads, core_count, graph_count;
    int cores[MAX_CORES];
    long runs;
    double seconds, warmup_seconds;
    Graph graphs[MAX_GRAPHS];
} job;

static FILE *answer;

/* ---- errors and JSON ---- */

static void put_string(const char *text) {
    fputc('"', answer);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            fprintf(answer, "\\%c", *c);
        } else if (*c < 0x20 || *c > 0x7e) {
            fputc(*c < 0x20 ? ' ' : '?', answer);
        } else {
            fputc(*c, answer);
        }
    }
    fputc('"', answer);
}

static _Noreturn void leave(int status) {
    /* No destructors: a runtime that dies in its own must not spoil an answer that was given. */
    if (fflush(answer) != 0 || ferror(answer)) status = 1;
    fflush(stderr);
    _exit(status);
}

static _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void fail(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    text[strcspn(text, "\n")] = 0;
    fprintf(stderr, "runner: error: %s\n", text);
    fprintf(answer, "{\"runner\": %d, \"error\": ", PROTOCOL);
    put_string(text);
    fputs("}\n", answer);
    leave(1);
}

static void *allocate(size_t bytes) {
    size_t room = (bytes + PADDING + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *memory = NULL;
    if (posix_memalign(&memory, ALIGNMENT, room) != 0) fail("no memory for %zu bytes", bytes);
    memset(memory, 0, room); /* every page is there before anything is timed */
    return memory;
}

static int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) fail("no clock %d: %s", (int)clock, strerror(errno));
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC_RAW); }

/* ---- files ---- */

static size_t read_into(const char *path, void *memory, size_t room) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("cannot open %s: %s", path, strerror(errno));
    size_t count = fread(memory, 1, room, file);
    bool bad = ferror(file) != 0;
    bool more = !bad && fgetc(file) != EOF;
    fclose(file);
    if (bad) fail("cannot read %s", path);
    return more ? room + 1 : count;
}

static void read_tensor(const char *path, Tensor *tensor) {
    size_t count = read_into(path, tensor->data, tensor->bytes);
    if (count != tensor->bytes) {
        fail("%s holds %s%zu bytes where input %s takes %zu", path,
             count > tensor->bytes ? "at least " : "", count, tensor->name, tensor->bytes);
    }
}

static void write_tensor(const char *path, const Tensor *tensor) {
    FILE *file = fopen(path, "wb");
    if (!file) fail("cannot write %s: %s", path, strerror(errno));
    size_t count = fwrite(tensor->data, 1, tensor->bytes, file);
    if (fclose(file) != 0 || count != tensor->bytes) fail("cannot write %s: is the disk full?", path);
}

/* ---- the job file ---- */

static const struct {
    const char *name;
    size_t bytes;
    int ort, litert; /* what the runtimes call it */
} dtypes[] = {{"float32", 4, 1, 1}, {"uint8", 1, 2, 3},   {"int8", 1, 3, 9},
              {"int32", 4, 6, 2},   {"int64", 8, 7, 4},   {"float16", 2, 10, 10}};

static int dtype_index(const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtypes[i].name, name) == 0) return (int)i;
    }
    fail("job: no dtype %s", name);
}

static const char *word(char **rest, const char *what) {
    char *found = strtok_r(NULL, " ", rest);
    if (!found) fail("job: a line has no %s", what);
    return found;
}

static double number(char **rest, const char *what, double least, double most) {
    const char *text = word(rest, what);
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most)) {
        fail("job: %s is %s, not a number from %g to %g", what, text, least, most);
    }
    return value;
}

static void parse_tensor(char **rest, Tensor *tensors, int *count) {
    if (*count == MAX_TENSORS) fail("job: more than %d tensors", MAX_TENSORS);
    Tensor *tensor = &tensors[(*count)++];
    tensor->name = word(rest, "tensor name");
    tensor->dtype = word(rest, "dtype");
    size_t elements = 1;
    char *dims = NULL, *text = (char *)word(rest, "shape");
    for (char *d = strtok_r(text, ",", &dims); d; d = strtok_r(NULL, ",", &dims)) {
        long long size = atoll(d);
        if (size < 1 || tensor->rank == MAX_RANK || elements > MAX_BYTES / 8 / (size_t)size) {
            fail("job: %s has an impossible shape", tensor->name);
        }
        tensor->dims[tensor->rank++] = size;
        elements *= (size_t)size;
    }
    tensor->bytes = elements * dtypes[dtype_index(tensor->dtype)].bytes;
    tensor->data = allocate(tensor->bytes);
}

static void parse_cores(char **rest) {
    char *cores = NULL, *text = (char *)word(rest, "cores");
    if (strcmp(text, "all") == 0) return;
    for (char *c = strtok_r(text, ",", &cores); c; c = strtok_r(NULL, ",", &cores)) {
        char *end = NULL;
        long core = strtol(c, &end, 10);
        if (*end || core < 0 || core >= CPU_SETSIZE || job.core_count == MAX_CORES) {
            fail("job: no core %s", c);
        }
        job.cores[job.core_count++] = (int)core;
    }
}

static Graph *this_graph(void) {
    if (!job.graph_count) fail("job: a line of a graph comes before the graph");
    return &job.graphs[job.graph_count - 1];
}

static void parse_step(const char *verb, char **rest) {
    Graph *graph = this_graph();
    if (!graph->case_count) fail("job: %s comes before a case", verb);
    Case *one = &graph->cases[graph->case_count - 1];
    if (one->step_count == 2 * MAX_TENSORS) fail("job: case %s is too long", one->name);
    Step *step = &one->steps[one->step_count++];
    step->verb = verb;
    step->name = word(rest, "tensor name");
    if (strcmp(verb, "link") == 0) {
        step->graph = word(rest, "graph");
        step->output = word(rest, "output");
    } else {
        step->file = word(rest, "file");
    }
}

static void parse_graph_line(const char *key, char **rest) {
    if (strcmp(key, "graph") == 0) {
        if (job.graph_count == MAX_GRAPHS) fail("job: more than %d graphs", MAX_GRAPHS);
        Graph *graph = &job.graphs[job.graph_count++];
        graph->name = word(rest, "graph");
        graph->cases = calloc(MAX_CASES, sizeof(Case));
        if (!graph->cases) fail("no memory for a job");
    } else if (strcmp(key, "model") == 0) {
        this_graph()->model = word(rest, "model");
    } else if (strcmp(key, "signature") == 0) {
        this_graph()->signature = word(rest, "signature");
    } else if (strcmp(key, "input") == 0) {
        parse_tensor(rest, this_graph()->inputs, &this_graph()->input_count);
    } else if (strcmp(key, "output") == 0) {
        parse_tensor(rest, this_graph()->outputs, &this_graph()->output_count);
    } else if (strcmp(key, "case") == 0) {
        if (this_graph()->case_count == MAX_CASES) fail("job: more than %d cases", MAX_CASES);
        this_graph()->cases[this_graph()->case_count++].name = word(rest, "case");
    } else if (!strcmp(key, "read") || !strcmp(key, "link") || !strcmp(key, "write")) {
        parse_step(key, rest);
    } else {
        fail("job: no word %s", key);
    }
}

static void parse_line(const char *key, char **rest) {
    if (strcmp(key, "sam-runner") == 0) {
        if (number(rest, "version", 0, 1e6) != PROTOCOL) fail("job: not of version %d", PROTOCOL);
    } else if (strcmp(key, "mode") == 0) {
        job.mode = word(rest, "mode");
    } else if (strcmp(key, "runtime") == 0) {
        job.runtime = word(rest, "runtime");
        job.version = word(rest, "runtime version");
    } else if (strcmp(key, "library") == 0) {
        job.library = word(rest, "library");
    } else if (strcmp(key, "delegate") == 0) {
        job.delegate = word(rest, "delegate");
    } else if (strcmp(key, "threads") == 0) {
        job.threads = (int)number(rest, "threads", 1, 256);
    } else if (strcmp(key, "cores") == 0) {
        parse_cores(rest);
    } else if (strcmp(key, "runs") == 0) {
        job.runs = (long)number(rest, "runs", 1, MAX_SAMPLES);
    } else if (strcmp(key, "seconds") == 0) {
        job.seconds = number(rest, "seconds", 0, 1e6);
    } else if (strcmp(key, "warmup_seconds") == 0) {
        job.warmup_seconds = number(rest, "warmup_seconds", 0, 1e6);
    } else {
        parse_graph_line(key, rest);
    }
}

static void parse_job(const char *path) {
    static char text[1 << 20]; /* names point into it for as long as the process lives */
    size_t count = read_into(path, text, sizeof text - 1);
    if (count >= sizeof text) fail("job: %s is too long", path);
    bool first = true, ended = false;
    char *lines = NULL, *rest = NULL;
    for (char *line = strtok_r(text, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines)) {
        const char *key = strtok_r(line, " ", &rest);
        if (!key) continue;
        if (first && strcmp(key, "sam-runner") != 0) fail("%s is not a job", path);
        if (ended) fail("job: %s goes on after its end", path);
        first = false;
        if (strcmp(key, "end") == 0) {
            ended = true;
            continue;
        }
        parse_line(key, &rest);
    }
    if (!ended) fail("job: %s is cut short: it has no end", path);
    if (!job.mode || !job.runtime || !job.library || !job.delegate || !job.threads || !job.runs) {
        fail("job: %s lacks mode, runtime, library, delegate, threads or runs", path);
    }
    for (int g = 0; g < job.graph_count; g++) {
        const Graph *graph = &job.graphs[g];
        if (!graph->model || !graph->input_count || !graph->output_count || !graph->case_count) {
            fail("job: graph %s lacks a model, inputs, outputs or cases", graph->name);
        }
    }
    if (!job.graph_count) fail("job: %s has no graph", path);
}

static Tensor *tensor_called(Tensor *tensors, int count, const char *name, const char *graph) {
    for (int i = 0; i < count; i++) {
        if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
    }
    fail("graph %s has no tensor %s", graph, name);
}

/* ISO C converts no object pointer to a function pointer; POSIX says that the bits are the same. */
static bool find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* ---- ONNX Runtime: functions by their place in a table that is only ever appended to ---- */

typedef void (*Function)(void); /* any function, until it is cast to its own type */

typedef struct {
    const Function *(*get_api)(uint32_t version);
    const char *(*version)(void);
} OrtApiBase;

typedef void *Status; /* NULL is well */
static const Function *ort;
static void *ort_environment, *ort_memory, *ort_allocator;

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

static void ort_delegate(void *options, void *library) {
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
        if (!find(library, "OrtSessionOptionsAppendExecutionProvider_Nnapi", &append)) {
            fail("this onnxruntime was built without NNAPI");
        }
        ort_check(append(options, 0), "NNAPI");
    } else {
        fail("the runner has no delegate %s for onnxruntime", job.delegate);
    }
}

static void differs(const Graph *graph, const Tensor *tensor, int dtype, int wanted, int rank,
                    const int64_t *dims) {
    bool same = dtype == wanted && rank == tensor->rank;
    for (int i = 0; same && i < rank; i++) same = dims[i] < 0 || dims[i] == tensor->dims[i];
    if (same) return;
    char text[256] = "";
    size_t used = 0;
    for (int i = 0; i < rank && i < MAX_RANK; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", i ? "," : "",
                                 (long long)dims[i]);
    }
    fail("graph %s: tensor %s is not %s of the job's shape in %s: its type is %d and its shape %s",
         graph->name, tensor->name, tensor->dtype, graph->model, dtype, text);
}

static void ort_tensor(Graph *graph, Tensor *tensor, void *type, void **value) {
    const void *info = NULL;
    int dtype = 0, wanted = dtypes[dtype_index(tensor->dtype)].ort;
    size_t rank = 0;
    int64_t dims[MAX_RANK] = {0};
    ort_check(ORT(TENSOR_INFO, type, &info), tensor->name);
    if (!info) fail("graph %s: %s is no tensor", graph->name, tensor->name);
    ort_check(ORT(ELEMENT_TYPE, info, &dtype), tensor->name);
    ort_check(ORT(RANK, info, &rank), tensor->name);
    if (rank > MAX_RANK) fail("graph %s: %s has %zu dimensions", graph->name, tensor->name, rank);
    ort_check(ORT(DIMS, info, dims, rank), tensor->name);
    differs(graph, tensor, dtype, wanted, (int)rank, dims);
    ort_check(ORT(CREATE_TENSOR, ort_memory, tensor->data, tensor->bytes, tensor->dims,
                  (size_t)tensor->rank, wanted, value), tensor->name);
}

static void ort_side(Graph *graph, bool input) {
    Tensor *tensors = input ? graph->inputs : graph->outputs;
    int wanted = input ? graph->input_count : graph->output_count;
    size_t count = 0;
    ort_check(input ? ORT(INPUT_COUNT, graph->session, &count)
                    : ORT(OUTPUT_COUNT, graph->session, &count), "count");
    if (count != (size_t)wanted) {
        fail("graph %s: %s has %zu %s, the job %d", graph->name, graph->model, count,
             input ? "inputs" : "outputs", wanted);
    }
    for (size_t i = 0; i < count; i++) {
        char *name = NULL;
        void *type = NULL;
        ort_check(input ? ORT(INPUT_NAME, graph->session, i, ort_allocator, &name)
                        : ORT(OUTPUT_NAME, graph->session, i, ort_allocator, &name), "name");
        ort_check(input ? ORT(INPUT_TYPE, graph->session, i, &type)
                        : ORT(OUTPUT_TYPE, graph->session, i, &type), name);
        Tensor *tensor = tensor_called(tensors, wanted, name, graph->name);
        (input ? graph->in_names : graph->out_names)[i] = tensor->name;
        ort_tensor(graph, tensor, type, &(input ? graph->in_values : graph->out_values)[i]);
    }
}

static void ort_load(Graph *graph, void *library) {
    void *options = NULL;
    ort_check(ORT(CREATE_OPTIONS, &options), "options");
    ort_check(ORT(OPTIMIZATION, options, 99), "optimization");
    ort_check(ORT(INTRA_THREADS, options, job.threads), "threads");
    ort_delegate(options, library);
    ort_check(ORT(CREATE_SESSION, ort_environment, graph->model, options, &graph->session),
              graph->model);
    ort_side(graph, true);
    ort_side(graph, false);
}

static void ort_call(Graph *graph) {
    Status status = ORT(RUN, graph->session, NULL, graph->in_names,
                        (const void *const *)graph->in_values, (size_t)graph->input_count,
                        graph->out_names, (size_t)graph->output_count, graph->out_values);
    if (status) ort_check(status, graph->name);
}

/* ---- LiteRT 2.3: functions by name; sizes of its structures are part of its ABI ---- */

typedef struct {
    unsigned int rank : 7, has_strides : 1;
    int32_t dims[8];
    uint32_t strides[8];
} LiteRtLayout;

typedef struct {
    int dtype;
    LiteRtLayout layout;
} LiteRtType;

_Static_assert(sizeof(LiteRtType) == 72, "LiteRtRankedTensorType is 72 bytes");

static struct {
    int (*CreateEnvironment)(int count, const void *options, void **environment);
    int (*CreateModelFromFile)(void *environment, const char *path, void **model);
    int (*GetNumModelSignatures)(void *model, size_t *count);
    int (*GetModelSignature)(void *model, size_t index, void **signature);
    int (*GetSignatureKey)(void *signature, const char **key);
    int (*GetNumSignatureInputs)(void *signature, size_t *count);
    int (*GetNumSignatureOutputs)(void *signature, size_t *count);
    int (*GetSignatureInputName)(void *signature, size_t index, const char **name);
    int (*GetSignatureOutputName)(void *signature, size_t index, const char **name);
    int (*GetSignatureInputTensorByIndex)(void *signature, size_t index, void **tensor);
    int (*GetSignatureOutputTensorByIndex)(void *signature, size_t index, void **tensor);
    int (*GetRankedTensorType)(void *tensor, LiteRtType *type);
    int (*CreateTensorBufferFromHostMemory)(const LiteRtType *type, void *memory, size_t bytes,
                                            void (*release)(void *), void **buffer);
    int (*CreateOptions)(void **options);
    int (*SetOptionsHardwareAccelerators)(void *options, int set);
    int (*CreateOpaqueOptions)(const char *kind, void *data, void (*release)(void *), void **made);
    int (*AddOpaqueOptions)(void *options, void *opaque);
    int (*CreateCompiledModel)(void *environment, void *model, void *options, void **compiled);
    int (*RunCompiledModel)(void *compiled, size_t signature, size_t in_count, void **inputs,
                            size_t out_count, void **outputs);
} lite;

static void *lite_environment;

static void lite_check(int status, const char *what) {
    if (status) fail("LiteRT: %s: status %d (its reason is above, on stderr)", what, status);
}

static void lite_symbol(void *library, const char *name, void *place) {
    char full[64];
    snprintf(full, sizeof full, "LiteRt%s", name);
    if (!find(library, full, place)) fail("%s is no LiteRT 2.3: it has no %s", job.library, full);
}

static void lite_open(void *library) {
#define BIND(name) lite_symbol(library, #name, &lite.name)
    BIND(CreateEnvironment);
    BIND(CreateModelFromFile);
    BIND(GetNumModelSignatures);
    BIND(GetModelSignature);
    BIND(GetSignatureKey);
    BIND(GetNumSignatureInputs);
    BIND(GetNumSignatureOutputs);
    BIND(GetSignatureInputName);
    BIND(GetSignatureOutputName);
    BIND(GetSignatureInputTensorByIndex);
    BIND(GetSignatureOutputTensorByIndex);
    BIND(GetRankedTensorType);
    BIND(CreateTensorBufferFromHostMemory);
    BIND(CreateOptions);
    BIND(SetOptionsHardwareAccelerators);
    BIND(CreateOpaqueOptions);
    BIND(AddOpaqueOptions);
    BIND(CreateCompiledModel);
    BIND(RunCompiledModel);
#undef BIND
    if (strcmp(job.delegate, "cpu") != 0 && strcmp(job.delegate, "xnnpack") != 0) {
        fail("the runner has no delegate %s for LiteRT", job.delegate);
    }
    lite_check(lite.CreateEnvironment(0, NULL, &lite_environment), "environment");
}

static void *lite_signature(Graph *graph, void *model) {
    size_t count = 0;
    lite_check(lite.GetNumModelSignatures(model, &count), graph->model);
    bool any = !graph->signature || strcmp(graph->signature, "-") == 0;
    for (size_t i = 0; i < count; i++) {
        void *signature = NULL;
        const char *key = NULL;
        lite_check(lite.GetModelSignature(model, i, &signature), graph->model);
        lite_check(lite.GetSignatureKey(signature, &key), graph->model);
        if (any || strcmp(key, graph->signature) == 0) {
            graph->signature_index = i;
            return signature;
        }
    }
    fail("graph %s: %s has no signature %s", graph->name, graph->model, graph->signature);
}

static long last_number(const char *name) {
    const char *end = name + strlen(name);
    while (end > name && (end[-1] < '0' || end[-1] > '9')) end--;
    const char *start = end;
    while (start > name && start[-1] >= '0' && start[-1] <= '9') start--;
    return end == start ? -1 : strtol(start, NULL, 10);
}

/* Which tensor of the job each of a signature's names is: the same name, else (`args_0`,
 * `output_1`, or a file without signatures) the one of the same rank among the numbers. */
static void pair(const char **names, size_t count, Tensor *tensors, bool by_place, Tensor **paired) {
    size_t same = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            if (strcmp(names[i], tensors[j].name) == 0) paired[i] = &tensors[j], same++;
        }
    }
    if (same == count) return;
    for (size_t i = 0; i < count; i++) {
        size_t rank = 0;
        for (size_t j = 0; j < count; j++) rank += last_number(names[j]) < last_number(names[i]);
        paired[i] = &tensors[by_place ? i : rank];
    }
}

static void lite_side(Graph *graph, void *signature, bool input) {
    Tensor *tensors = input ? graph->inputs : graph->outputs, *paired[MAX_TENSORS] = {NULL};
    void **buffers = input ? graph->in_buffers : graph->out_buffers;
    int wanted = input ? graph->input_count : graph->output_count;
    const char *names[MAX_TENSORS] = {NULL};
    size_t count = 0;
    lite_check((input ? lite.GetNumSignatureInputs : lite.GetNumSignatureOutputs)(signature, &count),
               graph->model);
    if (count != (size_t)wanted) {
        fail("graph %s: %s has %zu %s, the job %d", graph->name, graph->model, count,
             input ? "inputs" : "outputs", wanted);
    }
    for (size_t i = 0; i < count; i++) {
        lite_check((input ? lite.GetSignatureInputName : lite.GetSignatureOutputName)(
                       signature, i, &names[i]), graph->model);
    }
    pair(names, count, tensors, strcmp(graph->signature, "-") == 0, paired);
    for (size_t i = 0; i < count; i++) {
        void *tensor = NULL;
        LiteRtType type;
        int64_t dims[MAX_RANK];
        lite_check((input ? lite.GetSignatureInputTensorByIndex
                          : lite.GetSignatureOutputTensorByIndex)(signature, i, &tensor), names[i]);
        lite_check(lite.GetRankedTensorType(tensor, &type), names[i]);
        for (unsigned d = 0; d < type.layout.rank && d < MAX_RANK; d++) {
            dims[d] = type.layout.dims[d];
        }
        differs(graph, paired[i], type.dtype, dtypes[dtype_index(paired[i]->dtype)].litert,
                (int)type.layout.rank, dims);
        lite_check(lite.CreateTensorBufferFromHostMemory(&type, paired[i]->data, paired[i]->bytes,
                                                         NULL, &buffers[i]), names[i]);
    }
}

static void lite_load(Graph *graph) {
    void *model = NULL, *options = NULL, *threads = NULL;
    char text[32];
    if (access(graph->model, R_OK) != 0) fail("cannot open %s: %s", graph->model, strerror(errno));
    lite_check(lite.CreateModelFromFile(lite_environment, graph->model, &model), graph->model);
    lite_check(lite.CreateOptions(&options), "options");
    lite_check(lite.SetOptionsHardwareAccelerators(options, 1), "CPU");
    /* Options of an accelerator travel as TOML. LiteRT frees the text. */
    snprintf(text, sizeof text, "num_threads = %d\n", job.threads);
    lite_check(lite.CreateOpaqueOptions("xnnpack", strdup(text), free, &threads), "threads");
    lite_check(lite.AddOpaqueOptions(options, threads), "threads");
    lite_check(lite.CreateCompiledModel(lite_environment, model, options, &graph->compiled),
               graph->model);
    void *signature = lite_signature(graph, model);
    lite_side(graph, signature, true);
    lite_side(graph, signature, false);
}

static void lite_call(Graph *graph) {
    int status = lite.RunCompiledModel(graph->compiled, graph->signature_index,
                                       (size_t)graph->input_count, graph->in_buffers,
                                       (size_t)graph->output_count, graph->out_buffers);
    if (status) lite_check(status, graph->name);
}

/* ---- the machine ---- */

static void hold_to_cores(void) {
    if (!job.core_count) return;
    cpu_set_t wanted, got;
    CPU_ZERO(&wanted);
    for (int i = 0; i < job.core_count; i++) CPU_SET(job.cores[i], &wanted);
    if (sched_setaffinity(0, sizeof wanted, &wanted) != 0) {
        fail("cannot hold to the cores of the job: %s", strerror(errno));
    }
    if (sched_getaffinity(0, sizeof got, &got) != 0 || !CPU_EQUAL(&wanted, &got)) {
        fail("the system gave %d of the %d cores of the job", CPU_COUNT(&got), CPU_COUNT(&wanted));
    }
}

static int allowed_cores(int *cores) {
    cpu_set_t set;
    int count = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    for (int core = 0; core < CPU_SETSIZE && count < MAX_CORES; core++) {
        if (CPU_ISSET(core, &set)) cores[count++] = core;
    }
    return count;
}

typedef struct {
    int cores[MAX_CORES], count;
    long khz[MAX_CORES];
} Frequencies;

static void read_frequencies(Frequencies *all) {
    int cores[MAX_CORES], count = allowed_cores(cores);
    all->count = 0;
    for (int i = 0; i < count; i++) {
        char path[96];
        long khz = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq",
                 cores[i]);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%ld", &khz) == 1) {
            all->cores[all->count] = cores[i];
            all->khz[all->count++] = khz;
        }
        fclose(file);
    }
}

static long long peak_kb(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long peak = -1;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %lld", &peak) == 1) break;
    }
    if (file) fclose(file);
    return peak;
}

/* ---- doing the job ---- */

static void *library;
static char runtime_name[128];
static int64_t library_ns, cpu_ns = -1, first_mask_ns = -1;
static Samples warmup, samples;
static bool stable = true, capped;
static Frequencies before, after;

static void open_runtime(void) {
    int64_t start = now_ns();
    library = dlopen(job.library, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail("cannot open %s: %s", job.library, dlerror());
    if (strcmp(job.runtime, "ort") == 0) {
        snprintf(runtime_name, sizeof runtime_name, "onnxruntime %s", ort_open(library));
    } else if (strcmp(job.runtime, "litert") == 0) {
        lite_open(library);
        snprintf(runtime_name, sizeof runtime_name, "LiteRT %s", job.version);
    } else {
        fail("job: no runtime %s", job.runtime);
    }
    library_ns = now_ns() - start;
}

static void load(Graph *graph) {
    int64_t start = now_ns();
    if (ort) {
        ort_load(graph, library);
    } else {
        lite_load(graph);
    }
    graph->load_ns = now_ns() - start;
}

static int64_t call(Graph *graph) {
    int64_t start = now_ns();
    if (ort) {
        ort_call(graph);
    } else {
        lite_call(graph);
    }
    return now_ns() - start;
}

static void keep(Samples *kept, int64_t value) {
    if (kept->count == kept->room) {
        size_t room = kept->room ? 2 * kept->room : 4096;
        int64_t *values = realloc(kept->values, room * sizeof *values);
        if (!values) fail("no memory for %zu samples", room);
        kept->values = values;
        kept->room = room;
    }
    kept->values[kept->count++] = value;
}

/* Fill the inputs of a case: from files, and from what earlier graphs gave. */
static void follow(Graph *graph, const Case *one, bool files, bool links) {
    for (int i = 0; i < one->step_count; i++) {
        const Step *step = &one->steps[i];
        if (strcmp(step->verb, "write") == 0) continue;
        Tensor *input = tensor_called(graph->inputs, graph->input_count, step->name, graph->name);
        if (strcmp(step->verb, "read") == 0) {
            if (files) read_tensor(step->file, input);
            continue;
        }
        if (!links) continue;
        Graph *source = job.graphs;
        while (source < graph && strcmp(source->name, step->graph) != 0) source++;
        if (source == graph) fail("job: %s links to %s, which is not earlier", graph->name, step->graph);
        Tensor *given = tensor_called(source->outputs, source->output_count, step->output, source->name);
        if (given->bytes != input->bytes) {
            fail("job: %s/%s cannot be %s/%s: the sizes differ", graph->name, input->name,
                 source->name, given->name);
        }
        memcpy(input->data, given->data, input->bytes);
    }
}

static void complete(const Graph *graph, const Case *one) {
    for (int t = 0; t < graph->input_count; t++) {
        int given = 0;
        for (int i = 0; i < one->step_count; i++) {
            given += strcmp(one->steps[i].verb, "write") != 0 &&
                     strcmp(one->steps[i].name, graph->inputs[t].name) == 0;
        }
        if (given != 1) {
            fail("job: case %s of %s gives input %s %d times", one->name, graph->name,
                 graph->inputs[t].name, given);
        }
    }
}

static void write_outputs(Graph *graph, const Case *one) {
    for (int i = 0; i < one->step_count; i++) {
        const Step *step = &one->steps[i];
        if (strcmp(step->verb, "write") != 0) continue;
        write_tensor(step->file,
                     tensor_called(graph->outputs, graph->output_count, step->name, graph->name));
    }
}

static void check_every_case(void) {
    for (int g = 0; g < job.graph_count; g++) {
        Graph *graph = &job.graphs[g];
        load(graph);
        for (int c = 0; c < graph->case_count; c++) {
            follow(graph, &graph->cases[c], true, true);
            int64_t took = call(graph);
            if (c == 0) graph->first_ns = took;
            write_outputs(graph, &graph->cases[c]);
        }
    }
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t median_of(const int64_t *values) {
    int64_t sorted[WINDOW];
    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, WINDOW, sizeof *sorted, ascending);
    return sorted[WINDOW / 2];
}

static bool is_stable(const Samples *kept) {
    if (kept->count < 2 * WINDOW) return false;
    int64_t now = median_of(kept->values + kept->count - WINDOW);
    int64_t then = median_of(kept->values + kept->count - 2 * WINDOW);
    int64_t apart = now > then ? now - then : then - now;
    return (double)apart <= STABLE * (double)then;
}

static void warm_up(Graph *graph) {
    int64_t start = now_ns(), limit = (int64_t)(job.warmup_seconds * 1e9);
    int64_t least = limit < LEAST_WARMUP_NS ? limit : LEAST_WARMUP_NS;
    graph->first_ns = call(graph);
    keep(&warmup, graph->first_ns);
    for (int64_t spent = now_ns() - start; ; spent = now_ns() - start) {
        stable = is_stable(&warmup);
        if ((stable && spent >= least) || spent >= limit) return;
        keep(&warmup, call(graph));
    }
}

static void take_samples(Graph *graph, double seconds) {
    read_frequencies(&before);
    int64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), start = now_ns();
    int64_t least = (int64_t)(seconds * 1e9);
    while ((long)samples.count < job.runs || now_ns() - start < least) {
        if (samples.count == MAX_SAMPLES) {
            capped = true;
            break;
        }
        keep(&samples, call(graph));
    }
    cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    read_frequencies(&after);
}

static void time_graph(void) {
    Graph *graph = &job.graphs[0];
    load(graph);
    warm_up(graph);
    take_samples(graph, job.seconds);
    write_outputs(graph, &graph->cases[0]);
}

static void time_session(int64_t start) {
    Graph *last = &job.graphs[job.graph_count - 1];
    for (int g = 0; g < job.graph_count; g++) load(&job.graphs[g]);
    for (int g = 0; g < job.graph_count; g++) {
        Graph *graph = &job.graphs[g];
        follow(graph, &graph->cases[0], false, true);
        graph->first_ns = call(graph);
    }
    first_mask_ns = now_ns() - start;
    take_samples(last, 0);
    for (int g = 0; g < job.graph_count; g++) write_outputs(&job.graphs[g], &job.graphs[g].cases[0]);
}

static void do_job(void) {
    bool check = strcmp(job.mode, "check") == 0, session = strcmp(job.mode, "session") == 0;
    for (int g = 0; g < job.graph_count; g++) {
        Graph *graph = &job.graphs[g];
        for (int c = 0; c < graph->case_count; c++) complete(graph, &graph->cases[c]);
        /* Files are read before anything is timed; links are followed when there is a source. */
        if (!check) follow(graph, &graph->cases[0], true, !session);
    }
    hold_to_cores();
    int64_t start = now_ns();
    open_runtime();
    if (check) {
        check_every_case();
    } else if (strcmp(job.mode, "graph") == 0) {
        time_graph();
    } else if (session) {
        time_session(start);
    } else {
        fail("job: no mode %s", job.mode);
    }
}

/* ---- the report ---- */

static void put_list(const char *key, const int64_t *values, size_t count) {
    fprintf(answer, ", \"%s\": [", key);
    for (size_t i = 0; i < count; i++) {
        fprintf(answer, "%s%lld", i ? "," : "", (long long)values[i]);
    }
    fputc(']', answer);
}

static void put_optional(const char *key, int64_t value) {
    if (value < 0) {
        fprintf(answer, ", \"%s\": null", key);
    } else {
        fprintf(answer, ", \"%s\": %lld", key, (long long)value);
    }
}

static void put_frequencies(const char *key, const Frequencies *all) {
    fprintf(answer, ", \"%s\": {", key);
    for (int i = 0; i < all->count; i++) {
        fprintf(answer, "%s\"%d\": %ld", i ? ", " : "", all->cores[i], all->khz[i]);
    }
    fputc('}', answer);
}

static void put_by_graph(const char *key, bool loads) {
    fprintf(answer, ", \"%s\": {", key);
    for (int g = 0; g < job.graph_count; g++) {
        if (g) fputs(", ", answer);
        put_string(job.graphs[g].name);
        fprintf(answer, ": %lld",
                (long long)(loads ? job.graphs[g].load_ns : job.graphs[g].first_ns));
    }
    fputc('}', answer);
}

static void report(void) {
    int cores[MAX_CORES], count = allowed_cores(cores);
    int64_t wide[MAX_CORES];
    for (int i = 0; i < count; i++) wide[i] = cores[i];
    long long peak = peak_kb();
    fprintf(answer, "{\"runner\": %d, \"mode\": ", PROTOCOL);
    put_string(job.mode);
    fputs(", \"runtime\": ", answer);
    put_string(runtime_name);
    fprintf(answer, ", \"library_ns\": %lld", (long long)library_ns);
    put_by_graph("load_ns", true);
    put_by_graph("first_ns", false);
    put_list("warmup_ns", warmup.values, warmup.count);
    fprintf(answer, ", \"stable\": %s", stable ? "true" : "false");
    put_list("samples_ns", samples.values, samples.count);
    put_optional("cpu_ns", cpu_ns);
    put_optional("first_mask_ns", first_mask_ns);
    put_optional("peak_bytes", peak < 0 ? -1 : peak * 1024);
    fprintf(answer, ", \"threads\": %d", job.threads);
    put_list("affinity", wide, (size_t)count);
    put_frequencies("khz_before", &before);
    put_frequencies("khz_after", &after);
    fputs(capped ? ", \"notes\": [\"stopped at a million calls\"]}\n" : ", \"notes\": []}\n", answer);
}

static void self_test(const char *path) {
    int64_t start = now_ns();
    if (path) {
        job.library = path;
        if (!dlopen(path, RTLD_NOW | RTLD_LOCAL)) fail("cannot open %s: %s", path, dlerror());
    }
    if (now_ns() < start) fail("the clock runs backwards");
    fprintf(answer, "{\"runner\": %d, \"bits\": %zu, \"compiler\": ", PROTOCOL, 8 * sizeof(void *));
    put_string(__VERSION__);
    fputs("}\n", answer);
}

int main(int count, char **words) {
    /* stdout is for the report alone: whatever a library prints goes to stderr. */
    int own = dup(STDOUT_FILENO);
    answer = own < 0 ? NULL : fdopen(own, "w");
    if (!answer || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return 1;
    if (count >= 2 && count <= 3 && strcmp(words[1], "--version") == 0) {
        self_test(count == 3 ? words[2] : NULL);
    } else if (count == 2) {
        parse_job(words[1]);
        do_job();
        report();
    } else {
        fail("usage: runner JOB | runner --version [LIBRARY]");
    }
    leave(0);
}
