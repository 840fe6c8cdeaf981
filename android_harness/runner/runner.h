/* What the files of the runner share: the job, its graphs, and what a runtime is.
 *
 * No header of any runtime: the runner opens a runtime's library itself. It is built for glibc on
 * arm64 and x86_64 (the capsule) and for bionic by the NDK.
 */
#ifndef RUNNER_H
#define RUNNER_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL 3 /* of the job file and of the report; runtimes/remote/job.py has the same */
#define MAX_TENSORS 16
#define MAX_GRAPHS 8
#define MAX_CASES 64
#define MAX_RANK 8
#define MAX_CORES 256
#define MAX_WINDOW 64
#define MAX_SAMPLES 1000000
#define MAX_PLACES 4096
#define MAX_ROWS 16

/* ---- the job (job.c) ---- */

typedef struct {
    int64_t *values;
    size_t count, room;
} Samples;

typedef enum { FLOAT32, UINT8, INT8, INT32, INT64, FLOAT16, DTYPES } Dtype;

typedef struct {
    const char *name;
    Dtype dtype;
    int64_t dims[MAX_RANK];
    int rank;
    size_t bytes;
    void *data;
} Tensor;

/* What another graph gave: a whole output, or that row of it whose value in `rating` is highest. */
typedef struct {
    const char *graph, *output, *rating; /* rating: NULL for all of it */
    int rows[MAX_ROWS], count;           /* the rows that may be chosen */
} Source;

typedef struct {
    const char *verb, *name, *file; /* verb: read, link, best or write */
    Source from;
} Step;

typedef struct {
    const char *name;
    Step steps[2 * MAX_TENSORS];
    int step_count;
} Case;

/* When a graph is run: if one of some values of an earlier output is above `least`. */
typedef struct {
    const char *source, *output; /* NULL: always */
    float least;
    int places[MAX_PLACES], count;
} Gate;

typedef struct {
    const char *name, *model, *signature;
    Tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    int input_count, output_count, case_count;
    Case *cases;
    int64_t load_ns, first_ns;
    Gate gate;
    Samples sums; /* of its calls, for each time that everything was asked, or each frame */
    long calls;   /* the last time */
    void *loaded; /* the runtime's own */
} Graph;

/* An input that has another value at each prompt: a row of a file. */
typedef struct {
    const char *graph, *tensor, *file;
    Tensor *input;
    char *rows;
} Sweep;

/* An input that every object of a video has its own of: a bank of earlier frames, a row a slot. After
 * a frame a row of `from` takes the place of the oldest, from the slot `first` on and round again;
 * without `from` it holds ages, which move on by a slot. */
typedef struct {
    Tensor *input;
    size_t first, slots;
    Source from; /* its graph is NULL for ages */
    char *rooms; /* of all objects, one after the other */
} Kept;

typedef struct {
    const char *mode, *runtime, *version, *library, *delegate;
    const char *repeat[MAX_GRAPHS]; /* the graphs that a session calls again and again, in turn */
    int repeat_count;
    Sweep sweeps[MAX_TENSORS];
    int sweep_count;
    long prompts; /* that everything asks */
    Kept kept[MAX_TENSORS];
    int kept_count;
    long objects; /* that a frame is tracked for */
    int threads, core_count, graph_count, stable_calls;
    int cores[MAX_CORES];
    long runs;
    double seconds, warmup_seconds, warmup_least_seconds, stable_within;
    Graph graphs[MAX_GRAPHS];
} Job;

extern Job job;

void parse_job(const char *path);
const char *word(char **rest, const char *what);
double number(char **rest, const char *what, double least, double most);
void parse_source(char **rest, Source *from, bool rated);
Graph *graph_called(const char *name);
Tensor *tensor_called(Tensor *tensors, int count, const char *name, const char *graph);
void read_tensor(const char *path, Tensor *tensor);
void read_rows(Sweep *sweep); /* as many as there are prompts */
void write_tensor(const char *path, const Tensor *tensor);
void *allocate(size_t bytes); /* zeroed, and aligned as runtimes ask for */

/* Fail if the model's tensor is not the job's; `dtype` and `wanted` are the runtime's codes, and a
 * size below 0 in `dims` means any. */
void demand_same(const Graph *graph, const Tensor *tensor, int dtype, int wanted, int rank,
                 const int64_t *dims);

/* ---- a runtime (ort.c, litert.c: a file NAME.c defines NAME_runtime) ---- */

typedef struct {
    const char *name, *title; /* in a job; for people */
    const char *(*open)(void *library); /* its version */
    void (*load)(Graph *graph);
    void (*call)(Graph *graph);
} Runtime;

const Runtime *runtime_called(const char *name);
bool find(void *library, const char *name, void *function);

/* ---- measuring (measure.c) ---- */

typedef struct {
    int cores[MAX_CORES], count;
    long khz[MAX_CORES];
} Frequencies;

typedef struct {
    char runtime[128]; /* title and version */
    int64_t cpu_ns, first_mask_ns; /* -1 if not measured */
    int64_t loaded_bytes;          /* the peak before the first picture or frame; in stages alone */
    Samples warmup, samples;
    bool stable, capped;
    Frequencies before, after;
} Measured;

extern Measured measured;

int64_t now_ns(void);
int allowed_cores(int *cores);
void do_job(void);
int64_t call(Graph *graph); /* its time */
void keep(Samples *kept, int64_t value);
bool is_repeated(const Graph *graph);

/* Fill the inputs of a case: from files, and from what earlier graphs gave, the first of them
 * `since`; NULL for none. */
void follow(Graph *graph, const Case *one, bool files, const Graph *since);

/* `bytes` of what a graph gave: all of an output, or the row that is rated best. */
const void *rated(const Source *from, size_t bytes);

/* ---- a video (frame.c) ---- */

void parse_kept(const char *key, char **rest);
void fill_banks(void);     /* of every object, with what was read */
int64_t track_frame(void); /* its time */

/* ---- the answer (report.c) ---- */

void open_answer(void);
long long peak_kb(void); /* -1 if the system does not tell */
void report(void);
void report_start(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void leave(int status);

#endif
