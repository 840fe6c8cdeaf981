/* LiteRT 2.3: functions by name; the sizes of its structures are part of its ABI. */
#include "runner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

typedef struct {
    void *compiled, *in_buffers[MAX_TENSORS], *out_buffers[MAX_TENSORS]; /* in signature order */
    size_t signature;
} LiteRtGraph;

static const int codes[DTYPES] = {[FLOAT32] = 1, [UINT8] = 3, [INT8] = 9,
                                  [INT32] = 2,   [INT64] = 4, [FLOAT16] = 10};

static void lite_check(int status, const char *what) {
    if (status) fail("LiteRT: %s: status %d (its reason is above, on stderr)", what, status);
}

static void lite_symbol(void *library, const char *name, void *place) {
    char full[64];
    snprintf(full, sizeof full, "LiteRt%s", name);
    if (!find(library, full, place)) fail("%s is no LiteRT 2.3: it has no %s", job.library, full);
}

static const char *lite_open(void *library) {
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
    return job.version; /* the library cannot tell its own */
}

static void *lite_signature(Graph *graph, void *model) {
    LiteRtGraph *loaded = graph->loaded;
    size_t count = 0;
    lite_check(lite.GetNumModelSignatures(model, &count), graph->model);
    bool any = !graph->signature || strcmp(graph->signature, "-") == 0;
    for (size_t i = 0; i < count; i++) {
        void *signature = NULL;
        const char *key = NULL;
        lite_check(lite.GetModelSignature(model, i, &signature), graph->model);
        lite_check(lite.GetSignatureKey(signature, &key), graph->model);
        if (any || strcmp(key, graph->signature) == 0) {
            loaded->signature = i;
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
    LiteRtGraph *loaded = graph->loaded;
    Tensor *tensors = input ? graph->inputs : graph->outputs, *paired[MAX_TENSORS] = {NULL};
    void **buffers = input ? loaded->in_buffers : loaded->out_buffers;
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
        demand_same(graph, paired[i], type.dtype, codes[paired[i]->dtype],
                    (int)type.layout.rank, dims);
        lite_check(lite.CreateTensorBufferFromHostMemory(&type, paired[i]->data, paired[i]->bytes,
                                                         NULL, &buffers[i]), names[i]);
    }
}

static void lite_load(Graph *graph) {
    LiteRtGraph *loaded = graph->loaded = allocate(sizeof *loaded);
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
    lite_check(lite.CreateCompiledModel(lite_environment, model, options, &loaded->compiled),
               graph->model);
    void *signature = lite_signature(graph, model);
    lite_side(graph, signature, true);
    lite_side(graph, signature, false);
}

static void lite_call(Graph *graph) {
    LiteRtGraph *loaded = graph->loaded;
    int status = lite.RunCompiledModel(loaded->compiled, loaded->signature,
                                       (size_t)graph->input_count, loaded->in_buffers,
                                       (size_t)graph->output_count, loaded->out_buffers);
    if (status) lite_check(status, graph->name);
}

const Runtime litert_runtime = {"litert", "LiteRT", lite_open, lite_load, lite_call};
