/* The job file (runtimes/remote/job.py writes it), and the tensors that it names. */
#include "runner.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 30) /* of a tensor; the largest of any variant is some megabytes */
#define ALIGNMENT 64 /* LiteRT refuses host memory that is aligned to less */
#define PADDING 64   /* XNNPACK may read a few bytes past an end */

Job job;

/* ---- files ---- */

void *allocate(size_t bytes) {
    size_t room = (bytes + PADDING + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *memory = NULL;
    if (posix_memalign(&memory, ALIGNMENT, room) != 0) fail("no memory for %zu bytes", bytes);
    memset(memory, 0, room); /* every page is there before anything is timed */
    return memory;
}

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

void read_tensor(const char *path, Tensor *tensor) {
    size_t count = read_into(path, tensor->data, tensor->bytes);
    if (count != tensor->bytes) {
        fail("%s holds %s%zu bytes where input %s takes %zu", path,
             count > tensor->bytes ? "at least " : "", count, tensor->name, tensor->bytes);
    }
}

void read_rows(Sweep *sweep) {
    Graph *graph = graph_called(sweep->graph);
    sweep->input = tensor_called(graph->inputs, graph->input_count, sweep->tensor, graph->name);
    size_t bytes = sweep->input->bytes * (size_t)job.prompts;
    sweep->rows = allocate(bytes);
    size_t count = read_into(sweep->file, sweep->rows, bytes);
    if (count != bytes) fail("%s does not hold %ld rows of %s", sweep->file, job.prompts, sweep->tensor);
}

void write_tensor(const char *path, const Tensor *tensor) {
    FILE *file = fopen(path, "wb");
    if (!file) fail("cannot write %s: %s", path, strerror(errno));
    size_t count = fwrite(tensor->data, 1, tensor->bytes, file);
    if (fclose(file) != 0 || count != tensor->bytes) fail("cannot write %s: is the disk full?", path);
}

/* ---- the job file ---- */

static const struct {
    const char *name;
    size_t bytes;
} dtypes[DTYPES] = {
    [FLOAT32] = {"float32", 4}, [UINT8] = {"uint8", 1}, [INT8] = {"int8", 1},
    [INT32] = {"int32", 4},     [INT64] = {"int64", 8}, [FLOAT16] = {"float16", 2},
};

static Dtype dtype_called(const char *name) {
    for (int i = 0; i < DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) return (Dtype)i;
    }
    fail("job: no dtype %s", name);
}

const char *word(char **rest, const char *what) {
    char *found = strtok_r(NULL, " ", rest);
    if (!found) fail("job: a line has no %s", what);
    return found;
}

double number(char **rest, const char *what, double least, double most) {
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
    tensor->dtype = dtype_called(word(rest, "dtype"));
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
    tensor->bytes = elements * dtypes[tensor->dtype].bytes;
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

void parse_source(char **rest, Source *from, bool is_rated) {
    from->graph = word(rest, "graph");
    from->output = word(rest, "output");
    if (!is_rated) return;
    from->rating = word(rest, "rating");
    Graph *source = graph_called(from->graph);
    const Tensor *values =
        tensor_called(source->outputs, source->output_count, from->rating, source->name);
    char *rows = NULL, *text = (char *)word(rest, "rows");
    for (char *r = strtok_r(text, ",", &rows); r; r = strtok_r(NULL, ",", &rows)) {
        long row = strtol(r, NULL, 10);
        if (from->count == MAX_ROWS || row < 0 || values->dtype != FLOAT32 ||
            (size_t)row >= values->bytes / sizeof(float)) {
            fail("job: %s does not rate a row %s", from->rating, r);
        }
        from->rows[from->count++] = (int)row;
    }
}

static void parse_step(const char *verb, char **rest) {
    Graph *graph = this_graph();
    if (!graph->case_count) fail("job: %s comes before a case", verb);
    Case *one = &graph->cases[graph->case_count - 1];
    if (one->step_count == 2 * MAX_TENSORS) fail("job: case %s is too long", one->name);
    Step *step = &one->steps[one->step_count++];
    step->verb = verb;
    step->name = word(rest, "tensor name");
    if (strcmp(verb, "link") == 0 || strcmp(verb, "best") == 0) {
        parse_source(rest, &step->from, strcmp(verb, "best") == 0);
    } else {
        step->file = word(rest, "file");
    }
}

static void parse_sweep(char **rest) {
    if (job.sweep_count == MAX_TENSORS) fail("job: more than %d sweeps", MAX_TENSORS);
    Sweep *sweep = &job.sweeps[job.sweep_count++];
    sweep->graph = word(rest, "graph");
    sweep->tensor = word(rest, "tensor name");
    sweep->file = word(rest, "file");
}

static void parse_gate(char **rest) {
    Gate *gate = &graph_called(word(rest, "graph"))->gate;
    gate->source = word(rest, "source");
    gate->output = word(rest, "output");
    gate->least = (float)number(rest, "least value", -1e30, 1e30);
    Graph *source = graph_called(gate->source);
    Tensor *output = tensor_called(source->outputs, source->output_count, gate->output, source->name);
    char *places = NULL, *text = (char *)word(rest, "places");
    for (char *p = strtok_r(text, ",", &places); p; p = strtok_r(NULL, ",", &places)) {
        long place = strtol(p, NULL, 10);
        if (gate->count == MAX_PLACES || place < 0 || (size_t)place >= output->bytes / sizeof(float) ||
            output->dtype != FLOAT32) {
            fail("job: %s has no place %s for a gate", gate->output, p);
        }
        gate->places[gate->count++] = (int)place;
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
    } else if (!strcmp(key, "read") || !strcmp(key, "link") || !strcmp(key, "best") ||
               !strcmp(key, "write")) {
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
    } else if (strcmp(key, "warmup_least_seconds") == 0) {
        job.warmup_least_seconds = number(rest, "warmup_least_seconds", 0, 1e6);
    } else if (strcmp(key, "stable_calls") == 0) {
        job.stable_calls = (int)number(rest, "stable_calls", 1, MAX_WINDOW);
    } else if (strcmp(key, "stable_within") == 0) {
        job.stable_within = number(rest, "stable_within", 0, 1);
    } else if (strcmp(key, "repeat") == 0) {
        if (job.repeat_count == MAX_GRAPHS) fail("job: more than %d graphs to repeat", MAX_GRAPHS);
        job.repeat[job.repeat_count++] = word(rest, "graph");
    } else if (strcmp(key, "prompts") == 0) {
        job.prompts = (long)number(rest, "prompts", 1, MAX_SAMPLES);
    } else if (strcmp(key, "objects") == 0) {
        job.objects = (long)number(rest, "objects", 1, MAX_SAMPLES);
    } else if (strcmp(key, "keep") == 0 || strcmp(key, "turn") == 0) {
        parse_kept(key, rest);
    } else if (strcmp(key, "sweep") == 0) {
        parse_sweep(rest);
    } else if (strcmp(key, "gate") == 0) {
        parse_gate(rest);
    } else {
        parse_graph_line(key, rest);
    }
}

void parse_job(const char *path) {
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
    if (!job.mode || !job.runtime || !job.library || !job.delegate || !job.threads || !job.runs ||
        !job.stable_calls) {
        fail("job: %s is missing mode, runtime, library, delegate, threads, runs or stable_calls", path);
    }
    for (int g = 0; g < job.graph_count; g++) {
        const Graph *graph = &job.graphs[g];
        if (!graph->model || !graph->input_count || !graph->output_count || !graph->case_count) {
            fail("job: graph %s is missing a model, inputs, outputs or cases", graph->name);
        }
    }
    if (!job.graph_count) fail("job: %s has no graph", path);
    for (int i = 1; i < job.repeat_count; i++) {
        if (graph_called(job.repeat[i]) <= graph_called(job.repeat[i - 1])) {
            fail("job: %s is repeated before %s, but comes after it", job.repeat[i - 1], job.repeat[i]);
        }
    }
    if (job.repeat_count) graph_called(job.repeat[0]);
}

Graph *graph_called(const char *name) {
    for (int g = 0; g < job.graph_count; g++) {
        if (strcmp(job.graphs[g].name, name) == 0) return &job.graphs[g];
    }
    fail("job: no graph %s", name);
}

Tensor *tensor_called(Tensor *tensors, int count, const char *name, const char *graph) {
    for (int i = 0; i < count; i++) {
        if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
    }
    fail("graph %s has no tensor %s", graph, name);
}

void demand_same(const Graph *graph, const Tensor *tensor, int dtype, int wanted, int rank,
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
         graph->name, tensor->name, dtypes[tensor->dtype].name, graph->model, dtype, text);
}
