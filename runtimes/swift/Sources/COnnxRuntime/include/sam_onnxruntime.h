/* ONNX Runtime through its C API, for Swift and for a JVM. The library is opened when it is asked for, so
 * nothing is linked and no header of it is needed.
 *
 * A function that can fail returns NULL if all is well, else one line that the caller frees with `free`.
 * Handles are released by their `sam_ort_release_...`; NULL is taken too. A session may be run by several
 * threads at once. Tensors are float32. */
#ifndef SAM_ONNXRUNTIME_H
#define SAM_ONNXRUNTIME_H

#include <stddef.h>
#include <stdint.h>

typedef struct SamOrt SamOrt;
typedef struct SamOrtSession SamOrtSession;
typedef struct SamOrtValue SamOrtValue;

enum { SAM_ORT_MOST_RANK = 8 };

/* Opens the library, once a process: a later call gives the same handle, whatever its path. */
char *sam_ort_open(const char *library, SamOrt **ort);
const char *sam_ort_version(const SamOrt *ort);

/* Loads a model file for the CPU. */
char *sam_ort_load(SamOrt *ort, const char *path, int threads, SamOrtSession **session);
void sam_ort_release_session(SamOrt *ort, SamOrtSession *session);

/* Copies numbers into a new value. */
char *sam_ort_value(SamOrt *ort, const float *numbers, const int64_t *dims, size_t rank, SamOrtValue **value);
void sam_ort_release_value(SamOrt *ort, SamOrtValue *value);

/* Shows a value's numbers, which live as long as it does. `dims` holds SAM_ORT_MOST_RANK. */
char *sam_ort_look(SamOrt *ort, SamOrtValue *value, const float **numbers, int64_t *dims, size_t *rank);

/* Runs a session; `outputs` are new values. */
char *sam_ort_run(SamOrt *ort, SamOrtSession *session, const char *const *in_names, SamOrtValue *const *inputs,
                  size_t in_count, const char *const *out_names, SamOrtValue **outputs, size_t out_count);

#endif
