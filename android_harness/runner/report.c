/* The answer: one JSON object on stdout, a report or an error. */
#include "runner.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static FILE *answer;

void open_answer(void) {
    /* stdout is for the answer alone: whatever a library prints goes to stderr. */
    int own = dup(STDOUT_FILENO);
    answer = own < 0 ? NULL : fdopen(own, "w");
    if (!answer || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) _exit(1);
}

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

_Noreturn void leave(int status) {
    /* No destructors: a runtime that dies in its own must not spoil an answer that was given. */
    if (fflush(answer) != 0 || ferror(answer)) status = 1;
    fflush(stderr);
    _exit(status);
}

_Noreturn void fail(const char *format, ...) {
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

long long peak_kb(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long peak = -1;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %lld", &peak) == 1) break;
    }
    if (file) fclose(file);
    return peak;
}

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

/* What every graph took of the whole: its calls, and their time together for each round. */
static void put_stages(const char *key, const char *counted, long count) {
    fprintf(answer, ", \"%s\": {\"%s\": %ld", key, counted, count);
    put_optional("loaded_bytes", measured.loaded_bytes);
    fputs(", \"calls\": {", answer);
    for (int g = 0; g < job.graph_count; g++) {
        if (g) fputs(", ", answer);
        put_string(job.graphs[g].name);
        fprintf(answer, ": %ld", job.graphs[g].calls);
    }
    fputs("}, \"graph_ns\": {", answer);
    for (int g = 0; g < job.graph_count; g++) {
        const Samples *sums = &job.graphs[g].sums;
        if (g) fputs(", ", answer);
        put_string(job.graphs[g].name);
        for (size_t i = 0; i < sums->count; i++) {
            fprintf(answer, "%s%lld", i ? "," : ": [", (long long)sums->values[i]);
        }
        fputc(']', answer);
    }
    fputs("}}", answer);
}

void report(void) {
    int cores[MAX_CORES], count = allowed_cores(cores);
    int64_t wide[MAX_CORES];
    for (int i = 0; i < count; i++) wide[i] = cores[i];
    long long peak = peak_kb();
    fprintf(answer, "{\"runner\": %d, \"mode\": ", PROTOCOL);
    put_string(job.mode);
    fputs(", \"runtime\": ", answer);
    put_string(measured.runtime);
    put_by_graph("load_ns", true);
    put_by_graph("first_ns", false);
    put_list("warmup_ns", measured.warmup.values, measured.warmup.count);
    fprintf(answer, ", \"stable\": %s", measured.stable ? "true" : "false");
    put_list("samples_ns", measured.samples.values, measured.samples.count);
    put_optional("cpu_ns", measured.cpu_ns);
    put_optional("first_mask_ns", measured.first_mask_ns);
    put_optional("peak_bytes", peak < 0 ? -1 : peak * 1024);
    fprintf(answer, ", \"threads\": %d", job.threads);
    put_list("affinity", wide, (size_t)count);
    put_frequencies("khz_before", &measured.before);
    put_frequencies("khz_after", &measured.after);
    if (job.prompts) put_stages("everything", "prompts", job.prompts);
    if (job.objects) put_stages("frame", "objects", job.objects);
    fputs(", \"notes\": [", answer);
    if (measured.capped) put_string("stopped at a million calls");
    fputs("]}\n", answer);
}

void report_start(void) {
    fprintf(answer, "{\"runner\": %d, \"bits\": %zu, \"compiler\": ", PROTOCOL, 8 * sizeof(void *));
    put_string(__VERSION__);
    fputs("}\n", answer);
}
