/* Loads lowered graphs with a runtime that it opens itself, calls them, and times every call.
 *
 *   runner JOB               does what the job file says; one JSON object on stdout
 *   runner --version [LIB]   proves that it starts here, and that LIB can be opened
 *
 * An error is one line on stderr, {"error": ...} on stdout and exit code 1.
 */
#include "runner.h"

#include <dlfcn.h>
#include <string.h>

/* One RUNTIME(NAME) for each row of android_harness/runtimes.py. */
#ifndef RUNTIMES
#error "compile with -DRUNTIMES='RUNTIME(ort) RUNTIME(litert)'"
#endif
#define RUNTIME(name) extern const Runtime name##_runtime;
RUNTIMES
#undef RUNTIME
#define RUNTIME(name) &name##_runtime,
static const Runtime *const runtimes[] = {RUNTIMES};

const Runtime *runtime_called(const char *name) {
    for (size_t i = 0; i < sizeof runtimes / sizeof *runtimes; i++) {
        if (strcmp(runtimes[i]->name, name) == 0) return runtimes[i];
    }
    fail("job: no runtime %s", name);
}

/* ISO C converts no object pointer to a function pointer; POSIX says that the bits are the same. */
bool find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void self_test(const char *library) {
    int64_t start = now_ns();
    if (library && !dlopen(library, RTLD_NOW | RTLD_LOCAL)) {
        fail("cannot open %s: %s", library, dlerror());
    }
    if (now_ns() < start) fail("the clock runs backwards");
    report_start();
}

int main(int count, char **words) {
    open_answer();
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
