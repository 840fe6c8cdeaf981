/* A runtime with the face of onnxruntime and no network: each call sleeps as long as it is told.
 *
 * SLOW calls take SLOW_MS, the others FAST_MS; GROWTH_MS is added for every call before. Calls of
 * the model file SLOW_MODEL take SLOW_MS too. It prints on stdout, as no library should. CRASH or
 * KILLED is what happens at a call; INSTANT calls do not even sleep.
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef SLOW
#define SLOW 0
#endif
#ifndef SLOW_MS
#define SLOW_MS 0
#endif
#ifndef FAST_MS
#define FAST_MS 1
#endif
#ifndef GROWTH_MS
#define GROWTH_MS 0
#endif

#ifndef SLOW_MODEL
#define SLOW_MODEL "none"
#endif

typedef void (*Function)(void);

static int object, calls;

static void *well(void) { return NULL; }

static void *make_env(int level, const char *name, void **made) {
    (void)level, (void)name;
    puts("{\"a library that prints\": on stdout");
    fflush(stdout);
    *made = &object;
    return NULL;
}

static void *make_session(void *env, const char *path, void *options, void **made) {
    (void)env, (void)options;
    *made = strdup(path);
    return NULL;
}

static void *run(void *session) {
    int slow = calls < SLOW || strcmp(session, SLOW_MODEL) == 0;
    long ms = (slow ? SLOW_MS : FAST_MS) + (long)calls * GROWTH_MS;
    struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    calls++;
#ifdef CRASH
    raise(SIGSEGV);
#endif
#ifdef KILLED
    raise(SIGKILL);
#endif
#ifndef INSTANT
    nanosleep(&wait, NULL);
#endif
    return NULL;
}

static void *make_options(void **made) { *made = &object; return NULL; }
static void *one(void *session, size_t *count) { (void)session; *count = 1; return NULL; }

static void *type_of(void *session, size_t index, void **type) {
    (void)session, (void)index;
    *type = &object;
    return NULL;
}

static void *name_of(const char *name, char **made) { *made = (char *)name; return NULL; }

static void *input(void *session, size_t index, void *allocator, char **name) {
    (void)session, (void)index, (void)allocator;
    return name_of("x", name);
}

static void *output(void *session, size_t index, void *allocator, char **name) {
    (void)session, (void)index, (void)allocator;
    return name_of("y", name);
}

static void *info_of(void *type, const void **info) { *info = type; return NULL; }
static void *dtype_of(const void *info, int *dtype) { (void)info; *dtype = 1; return NULL; }
static void *rank_of(const void *info, size_t *rank) { (void)info; *rank = 1; return NULL; }

static void *dims_of(const void *info, int64_t *dims, size_t rank) {
    (void)info, (void)rank;
    dims[0] = 1;
    return NULL;
}

static const Function *get_api(uint32_t version) {
    static Function table[300];
    (void)version;
    for (size_t i = 0; i < 300; i++) table[i] = (Function)well;
    table[3] = (Function)make_env;
    table[7] = (Function)make_session;
    table[9] = (Function)run;
    table[10] = (Function)make_options;
    table[30] = table[31] = (Function)one;
    table[33] = table[34] = (Function)type_of;
    table[36] = (Function)input;
    table[37] = (Function)output;
    table[55] = (Function)info_of;
    table[60] = (Function)dtype_of;
    table[61] = (Function)rank_of;
    table[62] = (Function)dims_of;
    return table;
}

static const char *version(void) { return "9.9.9"; }

const void *OrtGetApiBase(void);

const void *OrtGetApiBase(void) {
    static struct {
        const Function *(*get_api)(uint32_t);
        const char *(*version)(void);
    } base;
    base.get_api = get_api;
    base.version = version;
    return &base;
}
