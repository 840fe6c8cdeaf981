/* Doing the job: load the graphs, call them, time every call. */
#include "runner.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

Measured measured = {.cpu_ns = -1, .first_mask_ns = -1, .stable = true};

static const Runtime *runtime;

/* ---- the machine ---- */

static int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) fail("no clock %d: %s", (int)clock, strerror(errno));
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC_RAW); }

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

int allowed_cores(int *cores) {
    cpu_set_t set;
    int count = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    for (int core = 0; core < CPU_SETSIZE && count < MAX_CORES; core++) {
        if (CPU_ISSET(core, &set)) cores[count++] = core;
    }
    return count;
}

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

/* ---- calls ---- */

static void open_runtime(void) {
    void *library = dlopen(job.library, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail("cannot open %s: %s", job.library, dlerror());
    runtime = runtime_called(job.runtime);
    snprintf(measured.runtime, sizeof measured.runtime, "%s %s", runtime->title,
             runtime->open(library));
}

static void load(Graph *graph) {
    int64_t start = now_ns();
    runtime->load(graph);
    graph->load_ns = now_ns() - start;
}

int64_t call(Graph *graph) {
    int64_t start = now_ns();
    runtime->call(graph);
    return now_ns() - start;
}

void keep(Samples *kept, int64_t value) {
    if (kept->count == kept->room) {
        size_t room = kept->room ? 2 * kept->room : 4096;
        int64_t *values = realloc(kept->values, room * sizeof *values);
        if (!values) fail("no memory for %zu samples", room);
        kept->values = values;
        kept->room = room;
    }
    kept->values[kept->count++] = value;
}

const void *rated(const Source *from, size_t bytes) {
    Graph *source = graph_called(from->graph);
    const Tensor *given =
        tensor_called(source->outputs, source->output_count, from->output, source->name);
    size_t row = 0;
    if (from->rating) {
        const float *values =
            tensor_called(source->outputs, source->output_count, from->rating, source->name)->data;
        row = (size_t)from->rows[0];
        for (int i = 1; i < from->count; i++) {
            if (values[from->rows[i]] > values[row]) row = (size_t)from->rows[i];
        }
    }
    if (from->rating ? bytes * (row + 1) > given->bytes : bytes != given->bytes) {
        fail("job: %s/%s has no %zu bytes to hand on: the sizes differ", source->name, given->name,
             bytes);
    }
    return (const char *)given->data + bytes * row;
}

void follow(Graph *graph, const Case *one, bool files, const Graph *since) {
    for (int i = 0; i < one->step_count; i++) {
        const Step *step = &one->steps[i];
        if (strcmp(step->verb, "write") == 0) continue;
        Tensor *input = tensor_called(graph->inputs, graph->input_count, step->name, graph->name);
        if (strcmp(step->verb, "read") == 0) {
            if (files) read_tensor(step->file, input);
            continue;
        }
        if (!since) continue;
        const Graph *source = job.graphs;
        while (source < graph && strcmp(source->name, step->from.graph) != 0) source++;
        if (source == graph) {
            fail("job: %s links to %s, which is not earlier", graph->name, step->from.graph);
        }
        if (source >= since) memcpy(input->data, rated(&step->from, input->bytes), input->bytes);
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

static void write_all(void) {
    for (int g = 0; g < job.graph_count; g++) write_outputs(&job.graphs[g], &job.graphs[g].cases[0]);
}

static void check_every_case(void) {
    for (int g = 0; g < job.graph_count; g++) {
        Graph *graph = &job.graphs[g];
        load(graph);
        for (int c = 0; c < graph->case_count; c++) {
            follow(graph, &graph->cases[c], true, job.graphs);
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

static double median_of(const int64_t *values, size_t count) {
    int64_t sorted[MAX_WINDOW];
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, ascending);
    return ((double)sorted[(count - 1) / 2] + (double)sorted[count / 2]) / 2;
}

/* The median of the last calls is close to that of the calls before them. */
static bool is_stable(const Samples *kept) {
    size_t window = (size_t)job.stable_calls;
    if (kept->count < 2 * window) return false;
    double now = median_of(kept->values + kept->count - window, window);
    double then = median_of(kept->values + kept->count - 2 * window, window);
    return (now > then ? now - then : then - now) <= job.stable_within * then;
}

/* What is timed again and again: it returns its time. */
typedef int64_t (*Answer)(void);

static int64_t one_graph(void) { return call(&job.graphs[0]); }

/* One answer of a session: its graphs in turn, with what they hand on to each other. */
static int64_t one_prompt(void) {
    Graph *graphs[MAX_GRAPHS];
    for (int i = 0; i < job.repeat_count; i++) graphs[i] = graph_called(job.repeat[i]);
    int64_t start = now_ns();
    runtime->call(graphs[0]);
    for (int i = 1; i < job.repeat_count; i++) {
        follow(graphs[i], &graphs[i]->cases[0], false, graphs[0]);
        runtime->call(graphs[i]);
    }
    return now_ns() - start;
}

static void warm_up(Answer answer) {
    int64_t start = now_ns(), limit = (int64_t)(job.warmup_seconds * 1e9);
    int64_t least = (int64_t)(job.warmup_least_seconds * 1e9);
    keep(&measured.warmup, answer());
    for (int64_t spent = now_ns() - start; ; spent = now_ns() - start) {
        measured.stable = is_stable(&measured.warmup);
        if ((measured.stable && spent >= least) || spent >= limit) return;
        keep(&measured.warmup, answer());
    }
}

static void take_samples(Answer answer, double seconds) {
    read_frequencies(&measured.before);
    int64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), start = now_ns();
    int64_t least = (int64_t)(seconds * 1e9);
    while ((long)measured.samples.count < job.runs || now_ns() - start < least) {
        if (measured.samples.count == MAX_SAMPLES) {
            measured.capped = true;
            break;
        }
        keep(&measured.samples, answer());
    }
    measured.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    read_frequencies(&measured.after);
}

static void time_graph(void) {
    Graph *graph = &job.graphs[0];
    load(graph);
    warm_up(one_graph);
    graph->first_ns = measured.warmup.values[0];
    take_samples(one_graph, job.seconds);
    write_outputs(graph, &graph->cases[0]);
}

static void time_session(int64_t start) {
    for (int g = 0; g < job.graph_count; g++) load(&job.graphs[g]);
    for (int g = 0; g < job.graph_count; g++) {
        Graph *graph = &job.graphs[g];
        follow(graph, &graph->cases[0], false, job.graphs);
        graph->first_ns = call(graph);
    }
    measured.first_mask_ns = now_ns() - start;
    if (job.repeat_count) take_samples(one_prompt, 0);
    write_all();
}

bool is_repeated(const Graph *graph) {
    for (int i = 0; i < job.repeat_count; i++) {
        if (strcmp(job.repeat[i], graph->name) == 0) return true;
    }
    return false;
}

/* Whether a graph is worth its call: whoever chooses masks would look at one of its own. */
static bool is_open(const Graph *graph) {
    const Gate *gate = &graph->gate;
    if (!gate->source) return true;
    Graph *source = graph_called(gate->source);
    const float *values =
        tensor_called(source->outputs, source->output_count, gate->output, source->name)->data;
    for (int i = 0; i < gate->count; i++) {
        if (values[gate->places[i]] > gate->least) return true;
    }
    return false;
}

/* The graphs of the image once, then those of prompts for each; what one hands on to another is
 * copied, and what the image's hand on but once. Returns the time of all of it. */
static int64_t ask_everything(void) {
    int64_t start = now_ns(), sums[MAX_GRAPHS] = {0};
    for (int g = 0; g < job.graph_count; g++) job.graphs[g].calls = 0;
    for (long prompt = -1; prompt < job.prompts; prompt++) {
        for (int i = 0; i < job.sweep_count && prompt >= 0; i++) {
            Sweep *sweep = &job.sweeps[i];
            size_t bytes = sweep->input->bytes;
            memcpy(sweep->input->data, sweep->rows + bytes * (size_t)prompt, bytes);
        }
        for (int g = 0; g < job.graph_count; g++) {
            Graph *graph = &job.graphs[g];
            if (is_repeated(graph) == (prompt < 0) || !is_open(graph)) continue;
            const Graph *since = prompt > 0 && graph->calls ? graph_called(job.repeat[0]) : job.graphs;
            follow(graph, &graph->cases[0], false, since);
            sums[g] += call(graph);
            graph->calls++;
        }
    }
    for (int g = 0; g < job.graph_count; g++) keep(&job.graphs[g].sums, sums[g]);
    return now_ns() - start;
}

static void load_all(void) {
    for (int g = 0; g < job.graph_count; g++) load(&job.graphs[g]);
    long long loaded = peak_kb();
    measured.loaded_bytes = loaded < 0 ? -1 : loaded * 1024;
}

/* What the first round of all graphs took, and the warm-up, are no samples of theirs. */
static void count_from_here(void) {
    for (int g = 0; g < job.graph_count; g++) {
        job.graphs[g].first_ns = job.graphs[g].sums.values[0];
        job.graphs[g].sums.count = 0;
    }
}

static void time_everything(void) {
    if (!job.prompts || !job.repeat_count) fail("job: everything without prompts");
    for (int i = 0; i < job.sweep_count; i++) read_rows(&job.sweeps[i]);
    load_all();
    keep(&measured.warmup, ask_everything());
    count_from_here();
    read_frequencies(&measured.before);
    int64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (long run = 0; run < job.runs; run++) keep(&measured.samples, ask_everything());
    measured.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    read_frequencies(&measured.after);
    write_all();
}

static void time_frames(void) {
    fill_banks();
    load_all();
    warm_up(track_frame);
    count_from_here();
    take_samples(track_frame, job.seconds);
    write_all();
}

void do_job(void) {
    bool check = strcmp(job.mode, "check") == 0, alone = strcmp(job.mode, "graph") == 0;
    for (int g = 0; g < job.graph_count; g++) {
        Graph *graph = &job.graphs[g];
        for (int c = 0; c < graph->case_count; c++) complete(graph, &graph->cases[c]);
        /* Files are read before anything is timed; links are followed when there is a source. */
        if (!check) follow(graph, &graph->cases[0], true, alone ? job.graphs : NULL);
    }
    hold_to_cores();
    int64_t start = now_ns();
    open_runtime();
    if (check) {
        check_every_case();
    } else if (alone) {
        time_graph();
    } else if (strcmp(job.mode, "session") == 0) {
        time_session(start);
    } else if (strcmp(job.mode, "everything") == 0) {
        time_everything();
    } else if (strcmp(job.mode, "frame") == 0) {
        time_frames();
    } else {
        fail("job: no mode %s", job.mode);
    }
}
