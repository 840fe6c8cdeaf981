/* The shared C functions of ONNX Runtime, as `segmentanything.jvm.Native` calls them. A fault is thrown.
 * Texts cross as bytes of UTF-8 that end in 0: JNI's own strings are of another encoding. */
#include "sam_onnxruntime.h"

#include <jni.h>
#include <stdlib.h>
#include <string.h>

#define NATIVE(type, name) JNIEXPORT type JNICALL Java_segmentanything_jvm_Native_##name
#define ORT(handle) ((SamOrt *)(intptr_t)(handle))
#define SESSION(handle) ((SamOrtSession *)(intptr_t)(handle))
#define VALUE(handle) ((SamOrtValue *)(intptr_t)(handle))
#define HANDLE(pointer) ((jlong)(intptr_t)(pointer))

enum { MOST_TENSORS = 64 };

static jbyteArray bytes(JNIEnv *env, const char *text) {
    jsize length = (jsize)strlen(text);
    jbyteArray made = (*env)->NewByteArray(env, length);
    if (made) (*env)->SetByteArrayRegion(env, made, 0, length, (const jbyte *)text);
    return made;
}

/* Throws a fault and frees it; returns whether there was one. */
static int thrown(JNIEnv *env, char *fault) {
    if (!fault) return 0;
    jclass class = (*env)->FindClass(env, "segmentanything/jvm/NativeFault");
    jmethodID make = class ? (*env)->GetMethodID(env, class, "<init>", "([B)V") : NULL;
    jbyteArray text = make ? bytes(env, fault) : NULL;
    jthrowable made = text ? (*env)->NewObject(env, class, make, text) : NULL;
    if (made) (*env)->Throw(env, made);
    free(fault);
    return 1;
}

/* Copies a text; NULL if there is no memory, of which Java then knows. */
static char *text(JNIEnv *env, jbyteArray given) {
    jsize length = (*env)->GetArrayLength(env, given);
    char *made = malloc((size_t)length + 1);
    if (!made) {
        thrown(env, strdup("no memory"));
        return NULL;
    }
    (*env)->GetByteArrayRegion(env, given, 0, length, (jbyte *)made);
    made[length] = 0;
    return made;
}

NATIVE(jlong, open)(JNIEnv *env, jclass class, jbyteArray library) {
    (void)class;
    SamOrt *ort = NULL;
    char *path = text(env, library);
    if (!path) return 0;
    char *fault = sam_ort_open(path, &ort);
    free(path);
    return thrown(env, fault) ? 0 : HANDLE(ort);
}

NATIVE(jbyteArray, version)(JNIEnv *env, jclass class, jlong ort) {
    (void)class;
    return bytes(env, sam_ort_version(ORT(ort)));
}

NATIVE(jlong, load)(JNIEnv *env, jclass class, jlong ort, jbyteArray file, jint threads) {
    (void)class;
    SamOrtSession *session = NULL;
    char *path = text(env, file);
    if (!path) return 0;
    char *fault = sam_ort_load(ORT(ort), path, threads, &session);
    free(path);
    return thrown(env, fault) ? 0 : HANDLE(session);
}

NATIVE(void, releaseSession)(JNIEnv *env, jclass class, jlong ort, jlong session) {
    (void)env, (void)class;
    sam_ort_release_session(ORT(ort), SESSION(session));
}

NATIVE(void, releaseValue)(JNIEnv *env, jclass class, jlong ort, jlong value) {
    (void)env, (void)class;
    sam_ort_release_value(ORT(ort), VALUE(value));
}

NATIVE(jlong, value)(JNIEnv *env, jclass class, jlong ort, jfloatArray numbers, jlongArray shape) {
    (void)class;
    SamOrtValue *value = NULL;
    int64_t dims[SAM_ORT_MOST_RANK];
    jsize rank = (*env)->GetArrayLength(env, shape);
    if (rank > SAM_ORT_MOST_RANK) {
        thrown(env, strdup("a tensor has too many dimensions"));
        return 0;
    }
    (*env)->GetLongArrayRegion(env, shape, 0, rank, (jlong *)dims);
    jfloat *given = (*env)->GetPrimitiveArrayCritical(env, numbers, NULL);
    char *fault = given ? sam_ort_value(ORT(ort), given, dims, (size_t)rank, &value) : strdup("no memory");
    if (given) (*env)->ReleasePrimitiveArrayCritical(env, numbers, given, JNI_ABORT);
    return thrown(env, fault) ? 0 : HANDLE(value);
}

NATIVE(jlongArray, shape)(JNIEnv *env, jclass class, jlong ort, jlong value) {
    (void)class;
    const float *numbers = NULL;
    int64_t dims[SAM_ORT_MOST_RANK];
    size_t rank = 0;
    if (thrown(env, sam_ort_look(ORT(ort), VALUE(value), &numbers, dims, &rank))) return NULL;
    jlongArray made = (*env)->NewLongArray(env, (jsize)rank);
    if (made) (*env)->SetLongArrayRegion(env, made, 0, (jsize)rank, (const jlong *)dims);
    return made;
}

NATIVE(jfloatArray, numbers)(JNIEnv *env, jclass class, jlong ort, jlong value) {
    (void)class;
    const float *numbers = NULL;
    int64_t dims[SAM_ORT_MOST_RANK];
    size_t rank = 0;
    if (thrown(env, sam_ort_look(ORT(ort), VALUE(value), &numbers, dims, &rank))) return NULL;
    jsize count = 1;
    for (size_t i = 0; i < rank; i++) count *= (jsize)dims[i];
    jfloatArray made = (*env)->NewFloatArray(env, count);
    if (made) (*env)->SetFloatArrayRegion(env, made, 0, count, numbers);
    return made;
}

/* Names' texts, of which the first `count` are to be freed. */
static jsize names(JNIEnv *env, jobjectArray given, const char **made) {
    jsize count = (*env)->GetArrayLength(env, given);
    for (jsize i = 0; i < count; i++) {
        jbyteArray name = (*env)->GetObjectArrayElement(env, given, i);
        made[i] = text(env, name);
        (*env)->DeleteLocalRef(env, name);
        if (!made[i]) return i;
    }
    return count;
}

NATIVE(jlongArray, run)(JNIEnv *env, jclass class, jlong ort, jlong session, jobjectArray inNames,
                        jlongArray inputs, jobjectArray outNames) {
    (void)class;
    const char *given[MOST_TENSORS], *asked[MOST_TENSORS];
    SamOrtValue *in[MOST_TENSORS], *out[MOST_TENSORS];
    jlong handles[MOST_TENSORS];
    jsize inCount = (*env)->GetArrayLength(env, inputs), outCount = (*env)->GetArrayLength(env, outNames);
    jlongArray made = NULL;
    if (inCount > MOST_TENSORS || outCount > MOST_TENSORS) {
        thrown(env, strdup("a graph has too many tensors"));
        return NULL;
    }
    (*env)->GetLongArrayRegion(env, inputs, 0, inCount, handles);
    for (jsize i = 0; i < inCount; i++) in[i] = VALUE(handles[i]);
    jsize inNamed = names(env, inNames, given);
    jsize outNamed = inNamed == inCount ? names(env, outNames, asked) : 0;
    if (inNamed == inCount && outNamed == outCount &&
        !thrown(env, sam_ort_run(ORT(ort), SESSION(session), given, in, (size_t)inCount, asked, out,
                                 (size_t)outCount))) {
        for (jsize i = 0; i < outCount; i++) handles[i] = HANDLE(out[i]);
        made = (*env)->NewLongArray(env, outCount);
        if (made) (*env)->SetLongArrayRegion(env, made, 0, outCount, handles);
    }
    for (jsize i = 0; i < inNamed; i++) free((void *)given[i]);
    for (jsize i = 0; i < outNamed; i++) free((void *)asked[i]);
    return made;
}
