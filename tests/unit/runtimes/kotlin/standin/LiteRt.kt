@file:Suppress("unused", "UNUSED_PARAMETER")

package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { NONE, CPU, GPU, NPU }

class LiteRtException(message: String) : Exception(message)

abstract class JniHandle : AutoCloseable {
    final override fun close(): Unit = TODO()
}

class Environment private constructor() : JniHandle()

class TensorBuffer internal constructor() : JniHandle() {
    fun writeFloat(data: FloatArray): Unit = TODO()

    fun readFloat(): FloatArray = TODO()
}

class CompiledModel private constructor() : JniHandle() {
    class Options(vararg val accelerators: Accelerator)

    fun createInputBuffer(inputName: String, signature: String? = null): TensorBuffer = TODO()

    fun createOutputBuffer(outputName: String, signature: String? = null): TensorBuffer = TODO()

    fun run(
        inputs: Map<String, TensorBuffer>, outputs: Map<String, TensorBuffer>, signature: String? = null,
    ): Unit = TODO()

    companion object {
        fun create(
            filePath: String, options: Options = Options(Accelerator.CPU), optionalEnv: Environment? = null,
        ): CompiledModel = TODO()

        fun create(
            assetManager: AssetManager, assetName: String, options: Options = Options(Accelerator.CPU),
            optionalEnv: Environment? = null,
        ): CompiledModel = TODO()
    }
}
