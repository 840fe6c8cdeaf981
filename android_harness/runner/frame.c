/* A frame of a video: what one object costs, and what all of them share. */
#include "runner.h"

#include <string.h>

#define AGE_BYTES 8 /* of one age, at most */

static size_t row_bytes(const Kept *kept) { return kept->input->bytes / kept->slots; }

void parse_kept(const char *key, char **rest) {
    if (job.kept_count == MAX_TENSORS) fail("job: more than %d kept tensors", MAX_TENSORS);
    Kept *kept = &job.kept[job.kept_count++];
    Graph *graph = graph_called(word(rest, "graph"));
    kept->input =
        tensor_called(graph->inputs, graph->input_count, word(rest, "tensor name"), graph->name);
    kept->slots = kept->input->rank < 2 ? 1 : (size_t)kept->input->dims[1];
    kept->first = (size_t)number(rest, "first slot", 0, (double)kept->slots - 1);
    if (strcmp(key, "keep") == 0) {
        bool is_rated = strcmp(word(rest, "how"), "best") == 0;
        parse_source(rest, &kept->from, is_rated);
    } else if (row_bytes(kept) > AGE_BYTES) {
        fail("job: %s holds no ages", kept->input->name);
    }
}

void fill_banks(void) {
    if (!job.objects || !job.repeat_count || !job.kept_count) fail("job: a frame without objects");
    for (int i = 0; i < job.kept_count; i++) {
        Kept *kept = &job.kept[i];
        size_t bytes = kept->input->bytes;
        kept->rooms = allocate(bytes * (size_t)job.objects);
        for (long object = 0; object < job.objects; object++) {
            memcpy(kept->rooms + bytes * (size_t)object, kept->input->data, bytes);
        }
    }
}

static void run(Graph *graph, const Graph *since, int64_t *sum) {
    follow(graph, &graph->cases[0], false, since);
    *sum += call(graph);
    graph->calls++;
}

/* Make an object's bank as the next frame sees it: the row of the oldest frame is the newest's. */
static void remember(const Kept *kept, size_t object, size_t frame) {
    char *room = kept->rooms + kept->input->bytes * object;
    size_t row = row_bytes(kept), moving = kept->slots - kept->first;
    char *start = room + row * kept->first;
    if (kept->from.graph) {
        memcpy(start + row * (frame % moving), rated(&kept->from, row), row);
    } else {
        char last[AGE_BYTES];
        memcpy(last, start + row * (moving - 1), row);
        memmove(start + row, start, row * (moving - 1));
        memcpy(start, last, row);
    }
}

int64_t track_frame(void) {
    static size_t frame = 0;
    int64_t start = now_ns(), sums[MAX_GRAPHS] = {0};
    for (int g = 0; g < job.graph_count; g++) {
        job.graphs[g].calls = 0;
        if (!is_repeated(&job.graphs[g])) run(&job.graphs[g], job.graphs, &sums[g]);
    }
    for (size_t object = 0; object < (size_t)job.objects; object++) {
        for (int i = 0; i < job.kept_count; i++) {
            Tensor *input = job.kept[i].input;
            memcpy(input->data, job.kept[i].rooms + input->bytes * object, input->bytes);
        }
        /* What all objects take of the frame is there since the first one. */
        const Graph *since = object ? graph_called(job.repeat[0]) : job.graphs;
        for (int g = 0; g < job.graph_count; g++) {
            if (is_repeated(&job.graphs[g])) run(&job.graphs[g], since, &sums[g]);
        }
        for (int i = 0; i < job.kept_count; i++) remember(&job.kept[i], object, frame);
    }
    frame++;
    for (int g = 0; g < job.graph_count; g++) keep(&job.graphs[g].sums, sums[g]);
    return now_ns() - start;
}
